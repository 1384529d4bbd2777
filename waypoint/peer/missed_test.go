package peer

import "testing"

func TestMissed(t *testing.T) {
	cutOff, partly, back := Missed{Unknown: 2}, Missed{AtMost: 5, Unknown: 1}, Missed{AtMost: 5}
	for _, order := range [][]Missed{{cutOff, partly, back}, {back, partly, cutOff}, {partly, cutOff, back}} {
		var m Missed
		if m = order[0].Later(order[1]).Later(order[2]); m != back {
			t.Errorf("of %v the latest is %v", order, m)
		}
	}
	for _, test := range []struct {
		now, heard Missed
		beyond     bool
	}{
		{Missed{}, Missed{}, false}, {cutOff, Missed{}, true}, {partly, cutOff, true}, {back, partly, false}, {Missed{AtMost: 6}, back, true},
		{Missed{}, cutOff, false},
	} {
		if got := test.now.Beyond(test.heard); got != test.beyond {
			t.Errorf("%v is news to who has heard %v: %v", test.now, test.heard, got)
		}
	}
	if m := cutOff.Join(back); m != (Missed{AtMost: 5, Unknown: 2}) {
		t.Errorf("joined: %v", m)
	}
}
