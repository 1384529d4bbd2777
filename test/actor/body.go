package actor

import (
	"bytes"
	"fmt"

	goamqp "github.com/Azure/go-amqp"
)

// body is the id, and as many bytes made from it as are wanted.
func body(id string, size int) []byte {
	b := make([]byte, 0, max(size, len(id)+1))
	b = append(append(b, id...), '\n')
	state := uint32(2166136261)
	for _, c := range []byte(id) {
		state = (state ^ uint32(c)) * 16777619
	}
	for len(b) < size {
		state = state*1664525 + 1013904223
		b = append(b, byte(state>>24))
	}
	return b
}

// message is one that carries its id twice, where routers look and where they don't.
func message(id string, size int, durable bool) *goamqp.Message {
	return &goamqp.Message{
		Header:     &goamqp.MessageHeader{Durable: durable},
		Properties: &goamqp.MessageProperties{MessageID: id},
		Data:       [][]byte{body(id, size)},
	}
}

// idOf reads a message's id and makes sure that it is whole.
func idOf(m *goamqp.Message) (string, error) {
	if m.Properties == nil {
		return "", fmt.Errorf("a message without properties")
	}
	id, ok := m.Properties.MessageID.(string)
	if !ok {
		return "", fmt.Errorf("message-id %v is no string", m.Properties.MessageID)
	}
	if got := m.GetData(); !bytes.Equal(got, body(id, len(got))) || len(got) <= len(id) {
		return id, fmt.Errorf("message %s: the body of %d bytes is not what was sent", id, len(got))
	}
	return id, nil
}
