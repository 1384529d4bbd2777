package shard

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"
)

// fullCommand has every part, and in it values at the ends of what is possible.
func fullCommand() Command {
	limits := Limits{MaxMessages: 5, MaxBytes: math.MaxUint64, MaxAge: time.Hour, MaxDeliveries: 3, MaxInFlight: 4,
		AckTimeout: time.Second, ExpiresAfter: time.Minute, Overflow: Reject}
	ranges := []Range{
		{From: 1, Through: 9, Before: totals(1, 100), At: totals(4, 900)},
		{From: 9, Through: 1, Before: totals(4, 900), At: totals(1, 100)}, // makes no sense, and passes
		{From: math.MaxUint64, Through: 0, Before: totals(math.MaxUint64, 0), At: totals(0, math.MaxUint64)},
	}
	refusal := Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s", Reason: 1, Limit: 2, Used: 3, RetryAfterMS: 4}
	c := Command{
		LaneOpen:    []LaneOpen{{"router", 7}, {"", math.MaxUint64}},
		LaneForget:  []uint64{1, math.MaxUint64},
		Start:       []Start{{Sub: 1, Address: "a", Limits: limits, Owner: "o", Name: "n"}, {}},
		End:         []uint64{0, 3},
		Limits:      []SetLimits{{Sub: 4, Limits: limits}, {}},
		Attach:      []Attach{{Sub: 5, Gen: 6, Router: "r", Boot: 7, Mark: 8}},
		Leave:       []Leave{{Sub: 5, Gen: 6, Mark: 7}},
		AckRefusals: []AckRefusals{{Lane: 1, Through: 2}},
		Confirm:     []Confirm{{Sub: 1, Ranges: ranges}, {Sub: 2, Ranges: ranges[:1]}},
		Fail:        []Fail{{Sub: 1, Seq: 2, Count: math.MaxUint32}},
		Rejected:    []Confirm{{Sub: 1, Ranges: ranges[:1]}},
		GiveUp:      []GiveUp{{Sub: 1, Cause: CauseAge, Ranges: ranges}, {Sub: 1, Cause: Causes - 1, Ranges: ranges[1:]}},
		Heard:       []Heard{{Sub: 1, Version: 2}},
		Mark:        []Mark{{Sub: 1, Mark: 2}},
		Trim:        []Trim{{Topic: 1, Range: ranges[0]}},
		Evict:       []GiveUp{{Sub: 9, Cause: CauseMessages, Ranges: ranges[:1]}},
	}
	for i := range 20 { // more addresses than a look along a list is good for
		c.Publish = append(c.Publish, Publish{Lane: 1, N: uint64(i), Address: fmt.Sprint("address-", i%12), Payload: []byte{byte(i)}})
	}
	c.Publish = append(c.Publish, Publish{Lane: 1, N: math.MaxUint64, Verdict: Refuse, Refusal: &refusal, Address: "x"},
		Publish{Verdict: NoView, Payload: []byte{}}, Publish{Verdict: Void, Payload: []byte{}})
	return c
}

func TestCommandComesBack(t *testing.T) {
	full := fullCommand()
	data := full.Encode([]byte("before"))[len("before"):]
	var got Command
	for range 2 { // the second time into memory that was used
		if err := got.Decode(data); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, full) {
			t.Fatalf("got %+v\nwant %+v", got, full)
		}
	}
	got.Reset()
	if !got.Empty() || full.Empty() {
		t.Error("Empty is wrong")
	}
	if err := got.Decode(got.Encode(nil)); err != nil || !got.Empty() {
		t.Errorf("the empty command came back as %+v, %v", got, err)
	}
}

// Every field of Command has to be in all that lists its fields.
func TestCommandHasNoForgottenPart(t *testing.T) {
	full := fullCommand()
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).Len() == 0 {
			t.Errorf("fullCommand has no %s", name)
		}
		var one Command
		reflect.ValueOf(&one).Elem().Field(i).Set(v.Field(i))
		if one.Empty() {
			t.Errorf("a command with %s counts as empty", name)
		}
		one.Reset()
		if reflect.ValueOf(one).Field(i).Len() != 0 {
			t.Errorf("Reset leaves %s", name)
		}
	}
}

func TestCommandsOfNewerVersionsAreRefused(t *testing.T) {
	for name, data := range map[string][]byte{
		"version":  {commandVersion + 1, 0},
		"features": {commandVersion, 1},
		"part":     {commandVersion, 0, tagEvict + 1, 1, 0},
		"verdict":  {commandVersion, 0, tagAddresses, 1, 1, 'a', tagPublish, 1, 1, 1, byte(Void) + 1, 0, 0},
		"cause":    {commandVersion, 0, tagGiveUp, 1, 1, byte(Causes), 0},
	} {
		var c Command
		if err := c.Decode(data); !errors.Is(err, ErrNewer) || errors.Is(err, ErrMalformed) || !c.Empty() {
			t.Errorf("%s: error %v, command %+v, want ErrNewer and nothing", name, err, c)
		}
	}
}

func TestMalformedCommands(t *testing.T) {
	full := fullCommand()
	data := full.Encode(nil)
	for n := range data {
		var c Command
		err := c.Decode(data[:n:n])
		if err == nil {
			continue // a section's end
		}
		if !errors.Is(err, ErrMalformed) || !c.Empty() {
			t.Errorf("%d of %d bytes: error %v, want ErrMalformed", n, len(data), err)
		}
	}
	for name, data := range map[string][]byte{
		"twice":         {commandVersion, 0, tagEnd, 1, 1, tagEnd, 1, 2},
		"out of order":  {commandVersion, 0, tagEnd, 1, 1, tagLaneForget, 1, 2},
		"empty section": {commandVersion, 0, tagEnd, 0},
		"no address":    {commandVersion, 0, tagPublish, 1, 1, 1, 0, 0, 0},
		"count":         {commandVersion, 0, tagEnd, 0xff, 0xff, 0xff, 0xff, 0x7f, 1},
	} {
		var c Command
		if err := c.Decode(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

func FuzzCommand(f *testing.F) {
	full := fullCommand()
	f.Add(full.Encode(nil))
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		var one Command
		reflect.ValueOf(&one).Elem().Field(i).Set(v.Field(i))
		f.Add(one.Encode(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again Command
		if err := c.Decode(data); err != nil {
			if !errors.Is(err, ErrNewer) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v of no kind", err)
			}
			return
		}
		b := c.Encode(nil)
		if err := again.Decode(b); err != nil {
			t.Fatalf("%+v can't be read again: %v", c, err)
		}
		if !bytes.Equal(again.Encode(nil), b) {
			t.Fatalf("%+v came back as %+v", c, again)
		}
	})
}

// The bytes of a command as version 1 writes them: a change here needs a new tag or feature, and a way to read these.
func TestCommandIsWrittenAsBefore(t *testing.T) {
	full := fullCommand()
	full.Publish = full.Publish[18:]
	got := fmt.Sprintf("%x", full.Encode(nil))
	if got != goldenCommand {
		t.Errorf("written as\n%s, was\n%s", got, goldenCommand)
	}
}

const goldenCommand = "" +
	"0100010206726f757465720700ffffffffffffffffff01020201ffffffffffffffffff01030201016105ffffffffffffffffff0180c0e285e3680304" +
	"8094ebdc0380b09dc2df0102016f016e0000000000000000000000000402000305020405ffffffffffffffffff0180c0e285e36803048094ebdc0380" +
	"b09dc2df01020000000000000000000601050607080172070105060708010102090201030110016406c00c090f04840705bf0cffffffffffffffffff" +
	"0102ffffffffffffffffff0100020102010110016406c00c0a010102ffffffff0f0b0101010110016406c00c0c020103030110016406c00c090f0484" +
	"0705bf0cffffffffffffffffff0102ffffffffffffffffff01000201010c02090f04840705bf0cffffffffffffffffff0102ffffffffffffffffff01" +
	"0002010d0101020e0101020f01010110016406c00c100409616464726573732d3609616464726573732d370178001105011200000112011300010113" +
	"01ffffffffffffffffff0102021c616d71703a7265736f757263652d6c696d69742d6578636565646564017301020304000001030000000303001201" +
	"0901010110016406c00c"
