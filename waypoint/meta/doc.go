// Package meta keeps what the whole cluster must agree on: the durable subscriptions, the addresses that they capture,
// the policies of addresses, the routers, and which shard has which address.
//
// It owns the state of group 0 (Machine, its commands and records) and what its leader does (Leader): it makes and
// removes subscriptions step by step, grants the routers their leases, and answers open, lookup, create, list, set and
// remove. It does not know messages, cursors or links: shards and agents do. DESIGN.md beside this file has the rules and
// what was chosen where they leave a choice.
package meta
