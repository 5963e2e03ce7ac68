package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

var probed = sync.OnceValues(probe)

// Probe tries, in children and once per process, which layers this node has. The error says of the others why not; it is for people.
func Probe() (Layers, error) { return probed() }

func probe() (Layers, error) {
	if !hooked.Load() {
		return noLayers, ErrNoHook
	}
	var have Layers
	var errs []error
	try := func(l Layers) bool {
		err := holds(l)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l, err))
			return false
		}
		have |= l
		return true
	}
	try(Seccomp)
	if try(Landlock) && landlockABI() >= 6 {
		have |= LandlockScope
	}
	if !try(Namespaces | NoNetwork) {
		try(Namespaces)
	}
	if os.Geteuid() == 0 {
		try(OwnUser)
	}
	if g := newGroup(Limits{}.withDefaults()); g != nil {
		have |= g.layers()
		g.remove()
	} else {
		errs = append(errs, errors.New("cgroup: no control group of version 2 may be made below this process's own"))
	}
	if have != noLayers {
		if err := holds(have); err != nil { // each by itself and yet not together
			errs = append(errs, fmt.Errorf("%s: %w", have, err))
			have &= Landlock | LandlockScope | Seccomp
		}
	}
	return have, errors.Join(errs...)
}

// holds tries layers on a process that starts no program.
func holds(l Layers) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*setupLimit)
	defer cancel()
	p := Program{Argv: []string{"/"}, Limits: Limits{Wall: time.Minute}.withDefaults()}
	_, err := Box{}.run(ctx, p, l, true)
	return err
}
