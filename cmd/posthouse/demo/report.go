package demo

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"
)

// report judges by what was written down, and prints it.
func (d *demo) report() error {
	v := d.ledger.Verify()
	captured := v.Accepted + v.UnknownDelivered
	d.say("")
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	row := func(what string, n any, note string) { fmt.Fprintf(t, "%s\t%v\t%s\n", what, n, note) }
	row("published", v.Sent, "by three publishers")
	row("accepted", v.Accepted, "on the disks of a majority")
	row("refused", v.Refused, "")
	row("unknown", v.Unknown, fmt.Sprintf("their publisher's own node (%s) was killed; %d of them were kept", d.killed, v.UnknownDelivered))
	row("delivered", v.Delivered, "to "+subscription+", in the order sent")
	row("lost", v.Missing-min(v.Missing, v.Told), "accepted and not delivered")
	row("doubled", v.Repeated, "")
	row(limited+" kept", d.small.kept, fmt.Sprintf("its limit is %d", limitedKeeps))
	row(limited+" was told of", d.small.told, fmt.Sprintf("%d + %d = %d captured", d.small.kept, d.small.told, captured))
	row("time", time.Since(d.began).Round(100*time.Millisecond), "")
	if err := t.Flush(); err != nil {
		return err
	}
	if !v.OK() {
		return fmt.Errorf("a promise was broken: %s", v)
	}
	if d.small.kept > limitedKeeps || d.small.kept+int(d.small.told) != captured {
		return errors.New("the limit's account is wrong")
	}
	d.say("Nothing lost, nothing doubled, everything in order.")
	return nil
}
