// Package node puts one node together from its configuration: storage, consensus, the waypoint, the router and the admin
// API; and takes it apart again in the right order.
//
// It is the only place that knows both the router and the waypoint: store.go joins the router's small interface of a
// memory to the waypoint's agent.
package node
