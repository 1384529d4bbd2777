package interop

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
)

func (g *gopher) receiver(args map[string]string) error {
	link := args["link"]
	session, err := g.session(args)
	if err != nil {
		return err
	}
	o := &goamqp.ReceiverOptions{Name: link, Properties: map[string]any{}}
	if _, ok := args["durable"]; ok {
		o.SourceDurability, o.SourceExpiryPolicy = goamqp.DurabilityUnsettledState, goamqp.ExpiryPolicyNever
	}
	if n, err := strconv.Atoi(args["timeout"]); err == nil {
		o.SourceDurability, o.SourceExpiryPolicy, o.SourceExpiryTimeout = goamqp.DurabilityUnsettledState, goamqp.ExpiryPolicyLinkDetach, uint32(n)
	}
	if _, ok := args["settled"]; ok {
		o.RequestedSenderSettleMode = goamqp.SenderSettleModeSettled.Ptr()
	}
	if n, err := strconv.Atoi(args["credit"]); err == nil {
		o.Credit = int32(n)
		if n == 0 {
			o.Credit = -1 // by hand
		}
	}
	for k, v := range args {
		if name, ok := strings.CutPrefix(k, "prop:"); ok {
			o.Properties[name] = v
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				o.Properties[name] = n
			}
		}
	}
	o.OnLinkStateProperties = func(p map[string]any) { g.heard <- event{Event: "state", Link: link, Properties: p} }
	r, err := session.NewReceiver(g.ctx, args["address"], o)
	if err != nil {
		g.heard <- event{Event: "attached", Link: link}
		g.failed(link, "link error", err)
		return nil
	}
	g.mu.Lock()
	g.receivers[link] = r
	g.mu.Unlock()
	// What the node has for a source is not to be had from this library.
	g.heard <- event{Event: "attached", Link: link, Terminus: &terminus{Address: r.Address()}, Properties: r.Properties()}
	_, manual := args["manual"]
	g.running.Go(func() { g.receive(link, r, manual) })
	return nil
}

func (g *gopher) receive(link string, r *goamqp.Receiver, manual bool) {
	for {
		m, err := r.Receive(g.ctx, nil)
		if err != nil {
			g.ended(r, event{Event: "error", Link: link, What: "the link is lost"}, err)
			return
		}
		e := event{Event: "message", Link: link, ID: m.Properties.MessageID.(string)}
		if h := m.Header; h != nil {
			e.Count, e.First = h.DeliveryCount, h.FirstAcquirer
		}
		if told, ok := client.GapOf(m); ok {
			e.Gap = &gap{Messages: told.Messages, Causes: told.Causes}
		}
		if kind := goKind(m); kind != "" {
			e.Kind, e.Intact = kind, sameBody(m, kind)
		} else {
			e.Size, e.Intact = len(m.GetData()), string(m.GetData()) == string(pattern(len(m.GetData())))
		}
		if manual {
			g.mu.Lock()
			g.held[link+"\t"+e.ID] = m
			g.mu.Unlock()
		} else if err := r.AcceptMessage(g.ctx, m); err != nil {
			g.ended(r, event{Event: "error", Link: link, What: "a message can't be accepted"}, err)
			return
		}
		g.heard <- e // when it is accepted: the next command may end the session
	}
}

func (g *gopher) sender(args map[string]string) error {
	link := args["link"]
	session, err := g.session(args)
	if err != nil {
		return err
	}
	o := &goamqp.SenderOptions{Name: link}
	if _, ok := args["settled"]; ok {
		o.SettlementMode = goamqp.SenderSettleModeSettled.Ptr()
	}
	s, err := session.NewSender(g.ctx, args["address"], o)
	if err != nil {
		g.heard <- event{Event: "attached", Link: link}
		g.failed(link, "link error", err)
		return nil
	}
	g.mu.Lock()
	g.senders[link] = s
	g.mu.Unlock()
	g.heard <- event{Event: "attached", Link: link, Terminus: &terminus{Address: s.Address()}}
	return nil
}

func (g *gopher) send(args map[string]string) error {
	m := &goamqp.Message{}
	e := event{Event: "sent", Link: args["link"], ID: args["id"]}
	if kind, ok := args["kind"]; ok {
		m = goKinds[kind]()
		e.Kind = kind
	}
	if m.Properties == nil {
		m.Properties = &goamqp.MessageProperties{}
	}
	m.Properties.MessageID = args["id"]
	if e.Kind != "" {
		m.Properties.Subject, m.Properties.ReplyTo = &e.Kind, &goReplyTo
	}
	if n, err := strconv.Atoi(args["size"]); err == nil {
		m.Data = [][]byte{pattern(n)}
	} else if n, err := strconv.Atoi(args["total"]); err == nil {
		m.Data = [][]byte{pattern(n - 100)}
		b, err := m.MarshalBinary()
		if err != nil {
			return err
		}
		m.Data[0] = pattern(n - 100 + n - len(b))
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	e.Size = len(b)
	if e.Kind != "" {
		e.Hex = hex.EncodeToString(b)
	}
	sender := g.senders[args["link"]]
	if _, settled := args["settled"]; settled {
		err := sender.Send(g.ctx, m, nil)
		g.heard <- e
		return err
	}
	receipt, err := sender.SendWithReceipt(g.ctx, m, nil)
	if err != nil {
		return err
	}
	g.heard <- e
	g.running.Go(func() {
		state, err := receipt.Wait(g.ctx)
		o := event{Event: "outcome", Link: args["link"], ID: args["id"]}
		switch s := state.(type) {
		case *goamqp.StateAccepted:
			o.State = "accepted"
		case *goamqp.StateReleased:
			o.State = "released"
		case *goamqp.StateModified:
			o.State = "modified"
		case *goamqp.StateRejected:
			o.State = "rejected"
			if s.Error != nil {
				o.Condition, o.Text = string(s.Error.Condition), s.Error.Description
			}
		default:
			o.State = fmt.Sprint(err)
		}
		g.heard <- o
	})
	return nil
}

func (g *gopher) drain(link string) error {
	r := g.receivers[link]
	g.running.Go(func() {
		if err := r.DrainCredit(g.ctx, nil); err != nil {
			g.failed(link, "drain", err)
			return
		}
		g.heard <- event{Event: "drained", Link: link}
	})
	return nil
}

func (g *gopher) settle(args map[string]string) error {
	key := args["link"] + "\t" + args["id"]
	g.mu.Lock()
	r, m := g.receivers[args["link"]], g.held[key]
	delete(g.held, key)
	g.mu.Unlock()
	switch args["outcome"] {
	case "accepted":
		return r.AcceptMessage(g.ctx, m)
	case "rejected":
		return r.RejectMessage(g.ctx, m, nil)
	case "released":
		return r.ReleaseMessage(g.ctx, m)
	}
	return r.ModifyMessage(g.ctx, m, &goamqp.ModifyMessageOptions{DeliveryFailed: true, UndeliverableHere: args["outcome"] == "undeliverable"})
}

// pattern is bytes of which each says where it belongs.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// sameBody compares what a client can see of a message, but for its header, with what it sees of the same message when
// nobody was between.
func sameBody(got *goamqp.Message, kind string) bool {
	var want goamqp.Message
	b, err := goKinds[kind]().MarshalBinary()
	if err == nil {
		err = want.UnmarshalBinary(b)
	}
	return err == nil && reflect.DeepEqual(got.Data, want.Data) && reflect.DeepEqual(got.Value, want.Value) && reflect.DeepEqual(got.Sequence, want.Sequence) &&
		reflect.DeepEqual(got.ApplicationProperties, want.ApplicationProperties) && reflect.DeepEqual(got.Annotations, want.Annotations) &&
		reflect.DeepEqual(got.Footer, want.Footer)
}
