package node

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// policy is the configuration's policies as the cluster keeps them: the most specific pattern first.
func policy(c *config.Config) (peer.Policy, error) {
	p := peer.Policy{Default: peer.AddressPolicy{Defaults: limits(c.Limits.Default, config.SubscriptionLimits{}), Caps: caps(c.Limits.Max, config.SubscriptionLimits{})}}
	entries := append([]config.Policy(nil), c.Policy...)
	sort.SliceStable(entries, func(i, j int) bool { return moreSpecific(entries[i].Pattern, entries[j].Pattern) })
	for _, e := range entries {
		p.Addresses = append(p.Addresses, peer.AddressPolicy{
			Pattern: e.Pattern, Isolated: peer.Isolated(e.Isolated), Unrouted: peer.Unrouted(e.Unrouted), AllowReject: e.OverflowReject,
			Defaults: limits(e.Default, c.Limits.Default), Caps: caps(e.Max, c.Limits.Max),
		})
	}
	if err := p.Validate(); err != nil {
		return p, fmt.Errorf("policies: %w", err)
	}
	return p, nil
}

// limits are what is named, and for the rest what is general.
func limits(l, general config.SubscriptionLimits) peer.Limits {
	out := peer.Limits{
		MaxMessages: first(l.MaxMessages, general.MaxMessages), MaxBytes: first(l.MaxBytes, general.MaxBytes),
		MaxAgeMS: uint64(time.Duration(first(int64(l.MaxAge), int64(general.MaxAge))).Milliseconds()), MaxInFlight: first(l.MaxInFlight, general.MaxInFlight),
	}
	overflow := l.Overflow
	if overflow == "" {
		overflow = general.Overflow
	}
	if overflow == "reject" {
		out.Overflow = peer.OverflowReject
	} else if overflow != "" {
		out.Overflow = peer.OverflowDropOldest
	}
	return out
}

// caps are limits where 0 means that there is none.
func caps(l, general config.SubscriptionLimits) peer.Limits {
	out := limits(l, general)
	out.Overflow = peer.OverflowDefault
	for _, n := range []*uint64{&out.MaxMessages, &out.MaxBytes, &out.MaxAgeMS, &out.MaxInFlight} {
		if *n == 0 {
			*n = peer.Unlimited
		}
	}
	return out
}

func first(values ...int64) uint64 {
	for _, v := range values {
		if v != 0 {
			return uint64(v)
		}
	}
	return 0
}

// moreSpecific orders patterns: words before *, * before #, longer before shorter.
func moreSpecific(a, b string) bool {
	x, y := words(a), words(b)
	for i := range min(len(x), len(y)) {
		if rx, ry := wild(x[i]), wild(y[i]); rx != ry {
			return rx < ry
		}
	}
	return len(x) > len(y)
}

func words(pattern string) []string {
	return strings.FieldsFunc(pattern, func(r rune) bool { return r == '.' || r == '/' })
}

func wild(word string) int {
	switch word {
	case "*":
		return 1
	case "#":
		return 2
	}
	return 0
}
