package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/router"
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/meta"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// admin answers the API. It is served by every node alike: what another one has to say is asked of it.
type admin struct {
	node     *Node
	gatherer prometheus.Gatherer
}

// answerWithin bounds the work on a request.
const answerWithin = 15 * time.Second

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
			defer cancel()
			answer, err := f(r.WithContext(ctx))
			write(w, answer, err)
		})
	}
	handle("GET "+api.PathNode, func(*http.Request) (any, error) { return a.node.view(), nil })
	handle("GET "+api.PathCluster, func(*http.Request) (any, error) { return a.node.clusterView(), nil })
	handle("GET "+api.PathSubscriptions, a.list)
	handle("POST "+api.PathSubscriptions, a.create)
	handle("GET "+api.PathSubscriptions+"/{name}", a.show)
	handle("PATCH "+api.PathSubscriptions+"/{name}", a.set)
	handle("DELETE "+api.PathSubscriptions+"/{name}", a.remove)
	handle("GET "+api.PathHealth, func(*http.Request) (any, error) { return map[string]string{"status": "ok"}, nil })
	handle("GET "+api.PathReady, func(*http.Request) (any, error) {
		if view := a.node.view(); !view.Ready {
			return nil, &statusError{http.StatusServiceUnavailable, api.Error{Condition: "posthouse:not-ready", Message: fmt.Sprintf("not ready: %s", joined(view.Reasons))}}
		}
		return map[string]string{"status": "ready"}, nil
	})
	handle("/v1/", func(r *http.Request) (any, error) {
		return nil, &statusError{http.StatusNotFound, api.Error{Condition: string(amqp.ErrCondNotFound), Message: fmt.Sprintf("%s %s: there is no such request", r.Method, r.URL.Path)}}
	})
	mux.Handle("GET "+api.PathMetrics, promhttp.HandlerFor(a.gatherer, promhttp.HandlerOpts{}))
	return mux
}

// statusError is an answer that is not 2xx.
type statusError struct {
	status int
	body   api.Error
}

func (e *statusError) Error() string { return e.body.Message }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, api.Error{Condition: string(amqp.ErrCondInvalidField), Message: fmt.Sprintf(format, args...)}}
}

func write(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		e := asStatus(err)
		status, answer = e.status, e.body
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

// asStatus finds the HTTP status for what the waypoint says.
func asStatus(err error) *statusError {
	var status *statusError
	if errors.As(err, &status) {
		return status
	}
	var refused *peer.Error
	if !errors.As(err, &refused) {
		return &statusError{http.StatusServiceUnavailable, api.Error{Condition: "posthouse:unavailable", Message: fmt.Sprintf("meta's leader can't be asked now: %v", err)}}
	}
	code := http.StatusBadRequest
	switch amqp.Symbol(refused.Condition) {
	case amqp.ErrCondNotFound:
		code = http.StatusNotFound
	case amqp.ErrCondUnauthorizedAccess:
		code = http.StatusForbidden
	case amqp.ErrCondResourceLocked, amqp.ErrCondPreconditionFailed:
		code = http.StatusConflict
	case amqp.ErrCondResourceLimitExceeded:
		code = http.StatusTooManyRequests
	}
	return &statusError{code, api.Error{Condition: refused.Condition, Message: refused.Error()}}
}

func (a *admin) list(r *http.Request) (any, error) {
	infos, err := a.node.waypoint.List(r.Context())
	if err != nil {
		return nil, err
	}
	all := make([]api.Subscription, len(infos))
	for i := range infos {
		all[i] = subscriptionView(&infos[i])
	}
	return all, nil
}

// ref is the subscription that a path names: owner is needed only where several have one of that name.
func ref(r *http.Request) meta.Ref {
	owner := r.URL.Query().Get("owner")
	return meta.Ref{Name: r.PathValue("name"), Owner: owner, AnyOwner: owner == ""}
}

func (a *admin) find(ctx context.Context, ref meta.Ref) (api.Subscription, error) {
	page, err := a.node.waypoint.Subscriptions().List(ctx, meta.ListRequest{Ref: &ref, Stats: true, AnyOwner: true})
	if err != nil {
		return api.Subscription{}, err
	}
	if len(page.Subscriptions) == 0 {
		return api.Subscription{}, &statusError{http.StatusNotFound, api.Error{Condition: string(amqp.ErrCondNotFound), Message: fmt.Sprintf("there is no subscription %q; `posthouse subscription ls` lists all", ref.Name)}}
	}
	return subscriptionView(&page.Subscriptions[0]), nil
}

func (a *admin) show(r *http.Request) (any, error) { return a.find(r.Context(), ref(r)) }

func decode(r *http.Request) (api.SubscriptionRequest, peer.Limits, error) {
	var in api.SubscriptionRequest
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return in, peer.Limits{}, badRequest("the request's body: %v", err)
	}
	limits, err := limitsOf(in.Limits)
	return in, limits, err
}

func (a *admin) create(r *http.Request) (any, error) {
	in, limits, err := decode(r)
	if err != nil {
		return nil, err
	}
	if in.Name == "" || in.Address == "" {
		return nil, badRequest("name and address: a subscription needs both")
	}
	if in.Owner == "" {
		in.Owner = router.Anonymous
	}
	info, err := a.node.waypoint.Subscriptions().Create(r.Context(), meta.CreateRequest{Owner: in.Owner, Name: in.Name, Address: in.Address, Limits: limits})
	if err != nil {
		return nil, err
	}
	return a.find(r.Context(), meta.Ref{ID: info.ID, AnyOwner: true})
}

func (a *admin) set(r *http.Request) (any, error) {
	_, limits, err := decode(r)
	if err != nil {
		return nil, err
	}
	info, err := a.node.waypoint.Subscriptions().Set(r.Context(), meta.SetRequest{Ref: ref(r), Limits: limits})
	if err != nil {
		return nil, err
	}
	return a.find(r.Context(), meta.Ref{ID: info.ID, AnyOwner: true})
}

func (a *admin) remove(r *http.Request) (any, error) {
	found, err := a.find(r.Context(), ref(r))
	if err != nil {
		return nil, err
	}
	return found, a.node.waypoint.Subscriptions().Drop(r.Context(), meta.Ref{ID: found.ID, AnyOwner: true})
}
