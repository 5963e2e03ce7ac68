package worker

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// TestDeadline begins no ticket that would not be done in time, but for the first.
func TestDeadline(t *testing.T) {
	dir, p := cut(t, 4, 8)
	all := ticketsOf(p)
	offer(t, dir, p, all...)
	log, err := drain(dir, "w", all[0], func(o *Options) { o.Deadline, o.Margin = time.Now().Add(time.Hour), time.Hour })
	if claims := claimants(t, dir); err != nil || len(claims) != 1 || !strings.Contains(log, fmt.Sprintf("tickets=%d", len(all)-1)) {
		t.Errorf("%v, %v\n%s", claims, err, log)
	}
	// An own ticket is begun however little time is left: else nothing would ever be done under a short limit. By the spec a process is warned
	// a minute before its end, and up to a minute sooner.
	for i, left := range []time.Duration{-time.Minute, 110 * time.Second} {
		own := all[i+1]
		log, err = drain(dir, "w", own, func(o *Options) { o.Deadline = time.Now().Add(left) })
		claims := claimants(t, dir)
		if end, e := result.ReadEnd(dir.End(own.Job, 1)); err != nil || e != nil || end.Code != 0 || end.Rows == 0 || len(claims) != i+2 {
			t.Errorf("%v before the end: %v, %+v (%v), %v\n%s", left, claims, end, e, err, log)
		}
	}
	log, err = drain(dir, "w", all[3], func(o *Options) { o.Deadline = time.Now().Add(150 * time.Second) })
	if claims := claimants(t, dir); err != nil || len(claims) != len(all) {
		t.Errorf("%v, %v\n%s", claims, err, log)
	}
	dir, p = cut(t, 4, 8)
	offer(t, dir, p, all...)
	log, err = drain(dir, "w2", all[1], func(o *Options) { o.Deadline, o.Margin = time.Now().Add(time.Hour), time.Minute })
	if claims := claimants(t, dir); err != nil || len(claims) != len(all) {
		t.Errorf("%v, %v\n%s", claims, err, log)
	}
	var pc pace
	if d := pc.expect(100); d != 0 {
		t.Errorf("nothing is known, and %v are expected", d)
	}
	pc.note(0, 1, 3*time.Second)
	if d := pc.expect(100); d != 3*time.Second {
		t.Errorf("by the longest: %v", d)
	}
	pc.note(1000, 0.5, 10*time.Second)
	pc.note(500, 0, 20*time.Second) // all of it was there: tells nothing of speed
	if d := pc.expect(100); d != 2*time.Second {
		t.Errorf("by the rate: %v", d)
	}
}

// TestGoesOn says after which failures a worker drains on.
func TestGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*testing.T, result.Dir, *plan.Plan)
		change func(*Options)
		exit   int
		all    bool
	}{
		"a shard that cannot be done": {func(t *testing.T, dir result.Dir, p *plan.Plan) {
			j := p.Jobs[0]
			j.Shards = []string{"none"}
			if err := plan.SaveJob(dir, j, 1); err != nil {
				t.Fatal(err)
			}
		}, func(*Options) {}, ExitInput, true},
		"no memory":     {func(*testing.T, result.Dir, *plan.Plan) {}, func(o *Options) { o.Memory = 1 }, ExitRetry, false},
		"another model": {func(*testing.T, result.Dir, *plan.Plan) {}, func(o *Options) { o.Backend = "tpu" }, ExitOther, false},
		"a panic": {func(t *testing.T, _ result.Dir, _ *plan.Plan) {
			hook(t, "worker:row", 1, func() { panic("for a test") })
		}, func(*Options) {}, ExitOther, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir, p := cut(t, 4, 8)
			all := ticketsOf(p)
			offer(t, dir, p, all...)
			c.spoil(t, dir, p)
			log, err := drain(dir, "w", all[0], c.change)
			end, e := result.ReadEnd(dir.End(all[0].Job, 1))
			if n := len(claimants(t, dir)); ExitCode(err) != c.exit || e != nil || end.Code != c.exit || (n == len(all)) != c.all || !c.all && n != 1 {
				t.Errorf("exit %d, end %+v (%v), %d of %d tickets claimed: %v\n%s", ExitCode(err), end, e, n, len(all), err, log)
			}
		})
	}
}

// TestMissingFiles stops draining: another machine may have what this one lacks.
func TestMissingFiles(t *testing.T) {
	quickly(t)
	data := t.TempDir() + "/data"
	if err := os.CopyFS(data, os.DirFS(pocket+"/data")); err != nil {
		t.Fatal(err)
	}
	dir, p := planned(t, given(t, two, limit(4), spec.Override{Key: "data_dir", Value: data, From: "-"},
		spec.Override{Key: "infer.max_partition_size", Value: 8, From: "-"}))
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	all := ticketsOf(p)
	offer(t, dir, p, all...)
	if log, err := drain(dir, "w", all[0], nil); ExitCode(err) != ExitInput || len(claimants(t, dir)) != 1 {
		t.Errorf("exit %d, %d claims\n%s", ExitCode(err), len(claimants(t, dir)), log)
	}
}

// TestOtherPartition replaces the plan by one of other shards while a worker drains: it goes on with the new one, and reuses the rows.
func TestOtherPartition(t *testing.T) {
	dir, p := cut(t, 6, 8)
	all := ticketsOf(p)
	offer(t, dir, p, all...)
	_, q := cut(t, 6, 2000)
	hook(t, "worker:ticket-done", 3, func() {
		if err := q.Save(dir.Plan()); err != nil {
			t.Error(err)
		}
		for _, ticket := range all { // a submit takes what it no longer wants out of play
			if _, err := dir.Take(result.Claim{Ticket: ticket, Closed: "the plan was replaced"}); err != nil {
				t.Error(err)
			}
		}
		offer(t, dir, q, ticketsOf(q)...)
	})
	if log, err := drain(dir, "w", all[0], nil); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if got := resultBytes(t, dir, q); got != wanted(t, 6) {
		t.Errorf("records\n%s", got)
	}
	rows := 0
	for _, id := range slices.Concat(shardIDs(p), shardIDs(q)) {
		if _, list, err := result.ReadCheckpoint(dir.Rows(id, 1)); err == nil {
			rows += len(list)
		}
	}
	if rows != 12 {
		t.Errorf("%d rows were computed of 12", rows)
	}
}

func shardIDs(p *plan.Plan) (list []string) {
	for _, s := range p.Shards {
		list = append(list, s.ID)
	}
	return list
}
