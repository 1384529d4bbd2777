package meta

import (
	"strings"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// refusal makes an error that travels to whoever asked, with a condition of the specification.
func refusal(condition amqp.Symbol, format string, args ...any) *peer.Error {
	return peer.Errorf(string(condition), format, args...)
}

// overCap refuses limits that the policy does not allow, naming each and its cap.
func overCap(list []Adjustment) *peer.Error {
	texts, info := make([]string, len(list)), map[string]string{}
	for i, a := range list {
		texts[i] = a.String()
		info[a.Limit] = a.Given
	}
	e := refusal(amqp.ErrCondInvalidField, "%s", strings.Join(texts, "; "))
	e.Info = info
	return e
}

// notYours refuses another user.
func notYours(s *Subscription) *peer.Error {
	return refusal(amqp.ErrCondUnauthorizedAccess, "the subscription %q belongs to another user", s.Name())
}

func notFound(what string) *peer.Error {
	return refusal(amqp.ErrCondNotFound, "there is no subscription %s", what)
}

var errDeposed = &peer.UnavailableError{Text: "meta has got another leader"}
