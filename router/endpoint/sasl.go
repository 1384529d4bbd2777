package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse/posthouse/router/amqp"
)

// Mechanisms of RFC 4422 that are spoken here.
const (
	mechAnonymous amqp.Symbol = "ANONYMOUS"
	mechPlain     amqp.Symbol = "PLAIN"
)

// saslFrameMax is the largest SASL frame taken. 5.3.1 says 512, but tokens sent as passwords are longer than that.
const saslFrameMax = 8 << 10

// saslServer is the accepting side's part of the dialog (5.3.2), behind the SASL header of the peer.
func (c *Conn) saslServer() error {
	auth := c.cfg.Authenticate
	var mechanisms []amqp.Symbol
	if auth.Check != nil {
		mechanisms = append(mechanisms, mechPlain)
	}
	if auth.Anonymous || len(mechanisms) == 0 {
		mechanisms = append(mechanisms, mechAnonymous) // never an empty list (5.3.4)
	}
	b := amqp.HeaderSASL.Append(nil)
	b = amqp.AppendSASLFrame(b, &amqp.SASLMechanisms{Mechanisms: mechanisms})
	if err := c.say(b); err != nil {
		return err
	}
	body, err := c.rd.saslFrame()
	if err != nil {
		return err
	}
	init, ok := body.(*amqp.SASLInit)
	if !ok {
		return fmt.Errorf("%w: SASL dialog begins with %T", ErrHandshake, body)
	}
	code, err := c.checkInit(init, mechanisms)
	if sayErr := c.say(amqp.AppendSASLFrame(nil, &amqp.SASLOutcome{Code: code})); sayErr != nil && err == nil {
		err = sayErr
	}
	return err
}

// checkInit looks at the client's choice, and at its credentials.
func (c *Conn) checkInit(init *amqp.SASLInit, offered []amqp.Symbol) (amqp.SASLCode, error) {
	if !slices.Contains(offered, init.Mechanism) || init.Mechanism == mechAnonymous && !c.cfg.Authenticate.Anonymous {
		return amqp.SASLAuth, fmt.Errorf("%w: mechanism %.32q is not offered", ErrAuthentication, string(init.Mechanism))
	}
	var user, password string
	if init.Mechanism == mechPlain {
		response := init.InitialResponse
		if response == nil {
			// The client waits to be asked.
			if err := c.say(amqp.AppendSASLFrame(nil, &amqp.SASLChallenge{Challenge: []byte{}})); err != nil {
				return amqp.SASLSys, err
			}
			body, err := c.rd.saslFrame()
			if err != nil {
				return amqp.SASLSys, err
			}
			r, ok := body.(*amqp.SASLResponse)
			if !ok {
				return amqp.SASLAuth, fmt.Errorf("%w: %T in place of a response", ErrAuthentication, body)
			}
			response = r.Response
		}
		// RFC 4616: authzid NUL authcid NUL passwd. Nobody may act for somebody else.
		parts := bytes.Split(response, []byte{0})
		if len(parts) != 3 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
			return amqp.SASLAuth, fmt.Errorf("%w: malformed PLAIN response", ErrAuthentication)
		}
		user, password = string(parts[1]), string(parts[2])
	}
	return c.checkUser(string(init.Mechanism), user, password)
}

// checkUser asks who may come in.
func (c *Conn) checkUser(mechanism, user, password string) (amqp.SASLCode, error) {
	c.sasl = mechanism
	if c.cfg.Authenticate.Check == nil {
		return amqp.SASLOK, nil
	}
	identity, err := c.cfg.Authenticate.Check(mechanism, user, password)
	switch {
	case errors.Is(err, ErrTemporary):
		return amqp.SASLSysTemp, fmt.Errorf("%w: %w", ErrAuthentication, err)
	case err != nil:
		return amqp.SASLAuth, fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	c.identity = identity
	return amqp.SASLOK, nil
}

// saslClient is the dialling side's part of the dialog, behind the SASL headers.
func (c *Conn) saslClient() error {
	body, err := c.rd.saslFrame()
	if err != nil {
		return err
	}
	offer, ok := body.(*amqp.SASLMechanisms)
	if !ok {
		return fmt.Errorf("%w: SASL dialog begins with %T", ErrHandshake, body)
	}
	cred := c.cfg.SASL
	init := &amqp.SASLInit{Mechanism: mechAnonymous, InitialResponse: []byte{}, Hostname: c.cfg.Hostname}
	if cred.User != "" {
		init.Mechanism = mechPlain
		init.InitialResponse = slices.Concat([]byte{0}, []byte(cred.User), []byte{0}, []byte(cred.Password))
	}
	if !slices.Contains(offer.Mechanisms, init.Mechanism) {
		return fmt.Errorf("%w: peer does not offer %s", ErrAuthentication, init.Mechanism)
	}
	c.sasl = string(init.Mechanism)
	if err := c.say(amqp.AppendSASLFrame(nil, init)); err != nil {
		return err
	}
	if body, err = c.rd.saslFrame(); err != nil {
		return err
	}
	outcome, ok := body.(*amqp.SASLOutcome)
	switch {
	case !ok:
		return fmt.Errorf("%w: %T in place of an outcome", ErrHandshake, body)
	case outcome.Code == amqp.SASLSysTemp:
		return fmt.Errorf("%w: %w", ErrAuthentication, ErrTemporary)
	case outcome.Code != amqp.SASLOK:
		return fmt.Errorf("%w: SASL code %d", ErrAuthentication, outcome.Code)
	}
	return nil
}

// saslFrame reads one frame of the dialog.
func (rd *reader) saslFrame() (amqp.SASLBody, error) {
	for {
		f, rest, ok, err := amqp.NextFrame(rd.chunk.b[rd.r:rd.w], saslFrameMax)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
		}
		if !ok {
			if err := rd.more(); err != nil {
				return nil, err
			}
			continue
		}
		if f.Type != amqp.FrameSASL {
			return nil, fmt.Errorf("%w: frame of type %d in the SASL dialog", ErrHandshake, f.Type)
		}
		body, err := amqp.DecodeSASL(f.Body) // an empty one is an error too (5.3.1)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
		}
		rd.r = rd.w - len(rest)
		return body, nil
	}
}
