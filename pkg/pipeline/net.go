package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// interfaces are the variables that name the network interfaces to use, the first that is set. They are NCCL's: names by which interfaces
// begin, with "=" before them whole names, with "^" before them those not to use.
var interfaces = []string{"SEXTANT_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}

// addresses are those by which other ranks may reach this machine; near: its own alone.
func addresses(near bool, getenv func(string) string) (ips []string, err error) {
	if near {
		return []string{"127.0.0.1"}, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("looking for network interfaces: %w", err)
	}
	rule, of := "", ""
	for _, name := range interfaces {
		if rule == "" {
			rule, of = getenv(name), name
		}
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
		if i.Flags&net.FlagUp == 0 || rule == "" && i.Flags&net.FlagLoopback != 0 || !chosen(rule, i.Name) {
			continue
		}
		addrs, _ := i.Addrs() // of one that goes meanwhile there are none
		for _, a := range addrs {
			if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
				ips = append(ips, ip.IP.String())
			}
		}
	}
	if len(ips) == 0 && rule != "" {
		return nil, fmt.Errorf("%s is %q, and no interface of that name is up with an address; there are %s", of, rule, strings.Join(names, ", "))
	}
	if len(ips) == 0 { // no network: the ranks are here, or will not come
		return addresses(true, getenv)
	}
	slices.SortStableFunc(ips, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") }) // the short ones of IPv4 first
	return ips, nil
}

// chosen says whether an interface is one of a rule.
func chosen(rule, name string) bool {
	rest, not := strings.CutPrefix(rule, "^")
	rest, whole := strings.CutPrefix(rest, "=")
	if rest == "" {
		return true
	}
	return not != slices.ContainsFunc(strings.Split(rest, ","), func(one string) bool {
		return name == one || !whole && strings.HasPrefix(name, one)
	})
}

// dial connects to the first of the addresses that answers. It tries again until ctx ends.
func dial(ctx context.Context, addrs []string) (*link, error) {
	d := net.Dialer{Timeout: 3 * time.Second}
	for {
		var errs []error
		for _, addr := range addrs {
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err == nil {
				return newLink(conn), nil
			}
			errs = append(errs, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), errors.Join(errs...))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
