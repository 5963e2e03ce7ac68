package run

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// simulate runs a test in a simulated world, and fails with what the world found wrong.
func simulate(t *testing.T, shape simShape, c simConfig, test func(*testing.T, *simRun)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSimRun(shape, c, 1)
		defer os.RemoveAll(s.work)
		test(t, s)
		for _, p := range s.procs {
			p.kill()
		}
		for _, bad := range append(s.bad, s.oddly...) {
			t.Error(bad)
		}
	})
}

// done submits to the end and checks that all is well, and that so many workers were asked for.
func (s *simRun) done(t *testing.T, o Options, hands int) {
	t.Helper()
	s.submit(context.Background(), o, nil)
	if s.err != nil || s.out == nil || len(s.out.Failures) > 0 || len(s.left()) > 0 {
		t.Fatalf("outcome %+v, %v, left %q", s.out, s.err, s.left())
	}
	if hands > 0 && len(s.hands) != hands {
		t.Errorf("%d workers, want %d", len(s.hands), hands)
	}
	s.gathered(nil)
	s.look()
}

// always gives faults that strike at every occasion.
func always(kinds ...string) map[string]float64 {
	m := map[string]float64{}
	for _, k := range kinds {
		m[k] = 1
	}
	return m
}

// The defects that random worlds found, each in a world of its own.
func TestFoundBySimulation(t *testing.T) {
	four := simShape{models: 1, rows: 4, limit: 6, workers: 4, retry: 2} // 2 jobs of gen, 1 of ppl
	small := simConfig{nodes: 2, slots: 1, window: 10}
	with := func(c simConfig, until int, kinds ...string) simConfig {
		c.faults, c.until = always(kinds...), until
		return c
	}
	drain := four
	drain.drain = true
	t.Run("the last tickets of a doomed task are given up, not forgotten", func(t *testing.T) {
		shape := simShape{models: 1, rows: 6, limit: 3, workers: 1, retry: 0, drain: true}
		c := simConfig{nodes: 1, slots: 1, window: 1, bad: map[string]string{"m0--gen--0-1": "doom"}}
		simulate(t, shape, c, func(t *testing.T, s *simRun) {
			s.submit(t.Context(), Options{}, nil)
			given := s.failed()
			if s.err != nil || len(given) != 6 {
				t.Errorf("%v, given up %v", s.err, given)
			}
			s.gathered(given)
		})
	})
	t.Run("all workers lost at once are made anew", func(t *testing.T) {
		c := with(small, 10, "doubt")
		c.window = 1
		simulate(t, four, c, func(t *testing.T, s *simRun) { s.done(t, Options{}, 0) })
	})
	t.Run("a scheduler that does not answer is no end of its workers", func(t *testing.T) {
		simulate(t, four, simConfig{nodes: 2, slots: 1, window: 10, faults: map[string]float64{"polldown": .8}, until: 1000}, func(t *testing.T, s *simRun) {
			ctx, cancel := context.WithCancel(t.Context())
			s.submit(ctx, Options{}, func(Event) {
				if len(s.procs) > 0 {
					cancel()
				}
			})
			if !errors.Is(s.err, ErrInterrupted) || len(s.left()) > 0 {
				t.Errorf("%v, left %q", s.err, s.left())
			}
		})
	})
	t.Run("files seen late are waited for", func(t *testing.T) {
		for _, shape := range []simShape{four, drain} {
			c := with(small, 1000, "late")
			c.slots = 4
			simulate(t, shape, c, func(t *testing.T, s *simRun) { s.done(t, Options{}, 3) })
		}
	})
	t.Run("workers that began though nobody was told are met and dismissed", func(t *testing.T) {
		for _, shape := range []simShape{four, drain} {
			simulate(t, shape, with(small, 8, "down", "ghost"), func(t *testing.T, s *simRun) { s.done(t, Options{}, 3) })
		}
	})
	t.Run("workers never asked for are not remembered", func(t *testing.T) {
		shape := simShape{models: 1, rows: 20, limit: 2, workers: 2, retry: 2, drain: true}
		simulate(t, shape, simConfig{nodes: 1, slots: 1, window: 1}, func(t *testing.T, s *simRun) {
			s.done(t, Options{}, 0)
			r, err := Open(s.work, s.simCluster.plan, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if p := r.journal.past(r.Plan.Identity); len(p.hands)+len(p.tickets) > 0 {
				t.Errorf("left in the journal: %+v", p)
			}
		})
	})
	t.Run("a node on which nothing begins is left alone", func(t *testing.T) {
		shape := simShape{models: 1, rows: 20, limit: 2, workers: 4, retry: 1, drain: false}
		simulate(t, shape, simConfig{nodes: 3, slots: 1, window: 6, blackHole: 1}, func(t *testing.T, s *simRun) {
			s.done(t, Options{}, 0)
			if !slices.Equal(s.out.Excluded, []string{"node1"}) {
				t.Errorf("excluded %q", s.out.Excluded)
			}
		})
	})
	t.Run("memory that runs out is asked for", func(t *testing.T) {
		c := small
		c.need = 2
		simulate(t, four, c, func(t *testing.T, s *simRun) {
			s.done(t, Options{}, 9)
			if got := s.hands[len(s.hands)-1].job.Memory; got != 16<<30 {
				t.Errorf("the last worker has %d bytes", got)
			}
		})
	})
	t.Run("a detached submit leaves when the window is full", func(t *testing.T) {
		for _, drain := range []bool{true, false} {
			shape, c := four, small
			shape.drain, shape.workers, c.window = drain, 1, 2
			simulate(t, shape, c, func(t *testing.T, s *simRun) {
				s.submit(t.Context(), Options{Window: 2, Detach: true}, nil)
				if s.err != nil || !s.out.Detached || len(s.out.Hands) > 2 {
					t.Fatalf("%+v, %v", s.out, s.err)
				}
				s.done(t, Options{GoOn: true}, 0)
			})
		}
	})
	t.Run("failures before a detached submit count for the one that goes on", func(t *testing.T) {
		for _, goOn := range []bool{true, false} {
			c := small
			c.bad = map[string]string{"m0--ppl--0-4": "die"}
			simulate(t, four, c, func(t *testing.T, s *simRun) {
				ctx, cancel := context.WithCancelCause(t.Context())
				s.submit(ctx, Options{}, func(e Event) {
					if e.Kind == Ended && e.Reason != "" {
						cancel(ErrDetached)
					}
				})
				if s.err != nil || !s.out.Detached {
					t.Fatalf("%+v, %v", s.out, s.err)
				}
				s.submit(t.Context(), Options{GoOn: goOn}, nil)
				want := four.retry + 1
				if !goOn {
					want++
				}
				if s.err != nil || len(s.out.Failures) != 1 || s.struck["m0--ppl--0-4"] != want {
					t.Errorf("go on %v: %+v, %v, %d failures of the shard, want %d", goOn, s.out, s.err, s.struck["m0--ppl--0-4"], want)
				}
			})
		}
	})
}

// Jobs that come after others, in worlds of their own.
func TestStepsSimulated(t *testing.T) {
	shape := simShape{models: 2, rows: 4, limit: 6, workers: 4, retry: 1, steps: true} // m0 comes after m0-q; 3 jobs each
	small := simConfig{nodes: 2, slots: 2, window: 20}
	for _, drain := range []bool{true, false} {
		shape.drain = drain
		t.Run("they begin when that is done, and no worker comes too early", func(t *testing.T) {
			simulate(t, shape, small, func(t *testing.T, s *simRun) {
				s.done(t, Options{}, 7)
				if s.early != 0 {
					t.Errorf("%d workers came too early", s.early)
				}
			})
		})
		t.Run("one that fails for good takes those after it along, and no other", func(t *testing.T) {
			for kind, tries := range map[string]int{"die": 2, "doom": 1, "retry": 2} {
				c := small
				c.bad = map[string]string{"m0-q": kind}
				simulate(t, shape, c, func(t *testing.T, s *simRun) {
					s.submit(t.Context(), Options{}, nil)
					given := s.failed()
					if s.err != nil || len(given) != 4 || !given["m0-q"] || s.struck["m0-q"] != tries || s.early != 0 {
						t.Errorf("%s: %v, given up %v after %d faults, %d too early", kind, s.err, given, s.struck["m0-q"], s.early)
					}
					for _, f := range s.out.Failures {
						if want := "m0-q/quantize failed: "; f.Shard != "m0-q" && !strings.HasPrefix(f.Reason, want) {
							t.Errorf("shard %s: %q, want %q and why", f.Shard, f.Reason, want)
						}
					}
					s.gathered(given)
					clear(s.simConfig.bad)
					s.done(t, Options{}, 0)
				})
			}
		})
		t.Run("a detached submit queues them behind it, and nobody need look again", func(t *testing.T) {
			simulate(t, shape, small, func(t *testing.T, s *simRun) {
				s.submit(t.Context(), Options{Detach: true}, nil)
				if s.err != nil || !s.out.Detached || len(s.out.Hands) != 7 {
					t.Fatalf("%+v, %v", s.out, s.err)
				}
				for _, h := range s.hands {
					if j, _ := s.simCluster.plan.Job(h.job.Script); len(h.job.After) != len(j.After) {
						t.Errorf("%s is held back by %v, want %v", h.job.Name, h.job.After, j.After)
					}
				}
				for range 200 {
					s.step()
				}
				s.gathered(nil)
				s.done(t, Options{}, 7)
				if s.early != 0 {
					t.Errorf("%d workers came too early", s.early)
				}
			})
		})
		t.Run("when it dies those behind it end by themselves, and are asked for again", func(t *testing.T) {
			c := small
			c.bad = map[string]string{"m0-q": "die"}
			simulate(t, shape, c, func(t *testing.T, s *simRun) {
				s.submit(t.Context(), Options{Detach: true}, nil)
				for range 200 {
					s.step()
				}
				if s.early != 3 || len(s.left()) > 0 {
					t.Errorf("%d workers came too early, want 3; left %q", s.early, s.left())
				}
				clear(s.simConfig.bad)
				s.done(t, Options{GoOn: true}, 11)
				if got := s.out.Excluded; len(got) > 0 {
					t.Errorf("nodes excluded: %q", got)
				}
			})
		})
	}
}

// pointNames are the moments that a submit may die at.
var pointNames = []string{"run:abandoned", "run:accepted", "run:adopted", "run:began", "run:cancelled", "run:claimed", "run:claims", "run:closed",
	"run:commit", "run:committed", "run:dismiss", "run:end-noted", "run:ended", "run:expelled", "run:foreign", "run:given-up", "run:giveup", "run:held",
	"run:intent", "run:judged", "run:kept", "run:left", "run:locked", "run:met", "run:numbered", "run:offered", "run:planned", "run:polled", "run:prepared",
	"run:retaken", "run:stop", "run:stop-asked", "run:stopped", "run:submitted", "run:thin", "run:thinned", "run:unsatisfiable"}

// eventful is a world in which, over a few submits, every point is reached.
func eventful(seed uint64) *simRun {
	s := newSimRun(simShape{models: 2, rows: 3, limit: 3, workers: 3, retry: 1, drain: seed%2 == 0, steps: seed%3 == 1}, simConfig{nodes: 3, slots: 1, window: 4, until: 80, pace: 3,
		faults:    map[string]float64{"kill": .08, "requeue": .08, "busy": .1, "down": .3, "ghost": 1, "late": .1, "doubt": .1, "reshape": 1, "lateclaims": .05},
		blackHole: int(seed % 3), bad: map[string]string{}}, seed)
	if kind := []string{"doom", "", "big", ""}[seed%4]; kind != "" {
		s.simConfig.bad["m0--gen--0-1"] = kind
	}
	if seed%5 == 0 {
		s.nodes, s.slots, s.blackHole = 1, 2, 1
	}
	return s
}

// A submit dies at each of the points; the next ones bring all to its end. Every point that is reached is in the list, and the other way round.
func TestDeathAtEveryPoint(t *testing.T) {
	reached := map[string]int{}
	seeds := map[string][]uint64{} // by point: of worlds in which it is reached
	play := func(seed uint64, at string, nth int) (died bool) {
		var bad []string
		synctest.Test(t, func(*testing.T) {
			s := eventful(seed)
			defer os.RemoveAll(s.work)
			s.deadly, s.deadlyN = at, nth
			for range 20 {
				if s.round() {
					break
				}
			}
			for _, p := range sortedKeys(s.reached) {
				seeds[p] = append(seeds[p], seed)
			}
			s.settled()
			died = s.fell
			for p, n := range s.reached {
				reached[p] += n
			}
			for _, p := range s.procs {
				p.kill()
			}
			bad = append(s.bad, s.oddly...)
		})
		for _, b := range bad {
			t.Errorf("seed %d, death at %s: %s", seed, at, b)
		}
		return died
	}
	for seed := range uint64(40) {
		if seed < 6 || len(seeds) < len(pointNames) {
			play(seed, "", 0)
		}
	}
	for _, at := range pointNames {
		if !slices.ContainsFunc(slices.Clone(seeds[at]), func(seed uint64) bool { return play(seed, at, 1) }) {
			t.Errorf("nothing died at %s", at)
		}
	}
	if got := sortedKeys(reached); !slices.Equal(got, pointNames) {
		t.Errorf("points reached:\n%q, want\n%q", got, pointNames)
	}
}
