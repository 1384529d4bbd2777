package amqp

import (
	"runtime"
	"strings"
	"testing"
)

// The structs and buffers of the hot path live on, as those of a connection do.
var hot struct {
	transfer    Transfer
	flow        Flow
	disposition Disposition
	sections    Sections
	edit        Edit
	header      Header
	buf         []byte
	sink        any
}

var (
	hotTransfer = (&Transfer{
		Handle: 3, DeliveryID: Some(uint32(100000)), DeliveryTag: []byte("tag-0001"), MessageFormat: Some(uint32(0)), State: Accepted{}, More: true,
	}).Append(nil)
	hotFlow = (&Flow{
		NextIncomingID: Some(uint32(1000)), IncomingWindow: 2048, NextOutgoingID: 70000, OutgoingWindow: 2048, Handle: Some(uint32(1)),
		DeliveryCount: Some(uint32(99)), LinkCredit: Some(uint32(250)), Available: Some(uint32(7)), Drain: true, Echo: true,
	}).Append(nil)
	hotDisposition = (&Disposition{Role: RoleReceiver, First: 1000, Last: 1100, Settled: true, State: Accepted{}}).Append(nil)
	hotMessage     = join(secHeader, secDelivery, secMessage, secProperties, secApp, secData)
	hotValue       = Raw(AppendUlong(nil, 123456789))
)

// hotPaths are what a router does for every message, and may not allocate for.
var hotPaths = []struct {
	name string
	do   func() bool
}{
	{"DecodeTransfer", func() bool {
		_, err := hot.transfer.Decode(hotTransfer)
		return err == nil
	}},
	{"DecodeFlow", func() bool {
		_, err := hot.flow.Decode(hotFlow)
		return err == nil
	}},
	{"DecodeDisposition", func() bool {
		_, err := hot.disposition.Decode(hotDisposition)
		return err == nil
	}},
	{"AppendTransfer", func() bool {
		hot.buf = AppendTransferFrame(hot.buf[:0], 1, &hot.transfer, 1000)
		return len(hot.buf) > 0
	}},
	{"AppendFlow", func() bool {
		hot.buf = AppendFrame(hot.buf[:0], 1, &hot.flow)
		return len(hot.buf) > 0
	}},
	{"AppendDisposition", func() bool {
		hot.buf = AppendFrame(hot.buf[:0], 1, &hot.disposition)
		return len(hot.buf) > 0
	}},
	{"PerformativeCode", func() bool {
		code, err := PerformativeCode(hotTransfer)
		return err == nil && code == CodeTransfer
	}},
	{"NextFrame", func() bool {
		_, _, ok, err := NextFrame(hotFrame, 512)
		return ok && err == nil
	}},
	{"Scan", func() bool { return hot.sections.Scan(hotMessage) == nil }},
	{"ScanHead", func() bool {
		ok, err := new(Sections).ScanHead(hotMessage)
		return ok && err == nil
	}},
	{"Header", func() bool {
		_, err := hot.sections.Header()
		return err == nil
	}},
	{"To", func() bool {
		to, err := hot.sections.To()
		return err == nil && string(to) == "to"
	}},
	{"MessageAnnotation", func() bool {
		v, err := hot.sections.MessageAnnotation("x-opt-n")
		return err == nil && v != nil
	}},
	{"ApplicationProperty", func() bool {
		v, err := hot.sections.ApplicationProperty("size")
		n, ok := v.Int64()
		return err == nil && ok && n == -5
	}},
	{"Body", func() bool {
		n := 0
		for v := range hot.sections.Body {
			n += len(v)
		}
		return n > 0
	}},
	{"Edit", func() bool {
		header, err := hot.sections.Header()
		header.DeliveryCount++
		changes := [...]Change{{"x-opt-hop", hotValue}, {"x-opt-m", hotValue}}
		e := Edit{Header: &header, DropDeliveryAnnotations: true, DeliveryAnnotations: changes[:1], MessageAnnotations: changes[:]}
		hot.buf, _ = e.AppendHead(hot.buf[:0], &hot.sections)
		return err == nil && len(hot.buf) > 0
	}},
}

var hotFrame = append(AppendTransferFrame(nil, 1, &Transfer{}, 4), "data"...)

func TestHotPathsDoNotAllocate(t *testing.T) {
	hot.buf = make([]byte, 0, 4096)
	for _, p := range hotPaths {
		if !p.do() {
			t.Fatalf("%s fails", p.name)
		}
		if n := testing.AllocsPerRun(100, func() { p.do() }); n != 0 {
			t.Errorf("%s: %v allocations", p.name, n)
		}
	}
}

func BenchmarkHotPaths(b *testing.B) {
	hot.buf = make([]byte, 0, 4096)
	for _, p := range hotPaths {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.do()
			}
		})
	}
}

// Delivery states without contents of their own are shared, whatever they are decoded into.
func TestCommonStatesDoNotAllocate(t *testing.T) {
	for _, s := range []DeliveryState{
		Accepted{}, Released{}, Rejected{}, Modified{}, Modified{DeliveryFailed: true}, Modified{UndeliverableHere: true}, Modified{true, true, nil},
	} {
		b := (&Disposition{State: s}).Append(nil)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := hot.disposition.Decode(b); err != nil {
				panic(err)
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations", s, n)
		}
	}
}

// What is claimed costs nothing; only what is there does.
func TestClaimsDoNotAllocate(t *testing.T) {
	// Lists in each other, each claiming as many items as there are bytes behind it.
	lists := []byte{}
	const size = 1 << 20
	for i := range MaxDepth {
		rest := size - 9*i
		lists = append(lists, 0xd0, byte((rest-5)>>24), byte((rest-5)>>16), byte((rest-5)>>8), byte(rest-5), byte((rest-9)>>24), byte((rest-9)>>16), byte((rest-9)>>8), byte(rest-9))
	}
	lists = append(lists, 0x57)
	lists = append(lists, make([]byte, size-len(lists))...)
	for name, in := range map[string][]byte{
		"nested lists":       lists,
		"array of nothing":   unhex(t, "f0 00000005 ffffffff 40"),
		"array of uints":     unhex(t, "f0 00000009 3fffffff 70 00000000"),
		"arrays of nothing":  append([]byte{0xd0, 0, 0, 39, 0x14, 0, 0, 3, 0xe8}, []byte(strings.Repeat("\xf0\x00\x00\x00\x05\x00\x00\x04\x00\x40", 1000))...),
		"list":               unhex(t, "d0 00000005 ffffffff 40"),
		"map":                unhex(t, "d1 00000005 fffffffe 40"),
		"string":             unhex(t, "b1 ffffffff 40"),
		"claimed and partly": unhex(t, "d0 ffffffff ffffffff 40"),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := DecodeValue(in)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: decodes", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<17 {
			t.Errorf("%s: %d bytes are allocated", name, n)
		}
	}
}
