package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sextant/internal/points"
	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// quickly puts a test's run directories where an fsync costs nothing.
func quickly(t testing.TB) {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

// cut is the spec of two in small shards, with some rows of each.
func cut(t testing.TB, rows, size int) (result.Dir, *plan.Plan) {
	t.Helper()
	quickly(t)
	return planned(t, given(t, two, limit(rows), spec.Override{Key: "infer.max_partition_size", Value: size, From: "-"}))
}

func ticketsOf(p *plan.Plan) (list []result.Ticket) {
	for _, j := range p.Jobs {
		list = append(list, result.Ticket{Job: j.ID, Attempt: 1})
	}
	return list
}

func offer(t testing.TB, dir result.Dir, p *plan.Plan, tickets ...result.Ticket) {
	t.Helper()
	if err := dir.AddOffer(result.Offer{Pool: p.Jobs[0].Pool(), Tickets: tickets}); err != nil {
		t.Fatal(err)
	}
}

// drain runs a worker of the given name and returns its log.
func drain(dir result.Dir, name string, own result.Ticket, change func(*Options)) (string, error) {
	var log bytes.Buffer
	o := Options{RunDir: string(dir), JobID: own.Job, Attempt: own.Attempt, Drain: true, Worker: name, Host: "node1", Threads: 1,
		Log: slog.New(slog.NewTextHandler(&log, nil))}
	if change != nil {
		change(&o)
	}
	err := Run(context.Background(), o)
	return log.String(), err
}

// hook calls f at the n-th time (from 1) that a point is reached.
func hook(t *testing.T, point string, n int, f func()) {
	t.Helper()
	old := points.Hook
	t.Cleanup(func() { points.Hook = old })
	points.Hook = func(name string) {
		if name == point {
			if n--; n == 0 {
				f()
			}
		}
	}
}

// claimants are the workers that have the tickets, by ticket.
func claimants(t testing.TB, dir result.Dir) map[string]string {
	t.Helper()
	list, err := dir.Claimed()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, ticket := range list {
		c, err := result.ReadClaim(dir.Claim(ticket))
		if err != nil {
			t.Fatal(err)
		}
		out[ticket.String()] = c.Worker
	}
	return out
}

// wanted are the records of rows of two, whatever the shards.
func wanted(t testing.TB, rows int) string {
	t.Helper()
	dir, p := cut(t, rows, 2000)
	if err := work(t, dir, p, 1); err != nil {
		t.Fatal(err)
	}
	return resultBytes(t, dir, p)
}

// TestDrain lets two workers drain a plan at once: each ticket is done once, each model loaded once, and the records are those of one worker.
func TestDrain(t *testing.T) {
	dir, p := cut(t, 12, 8)
	all := ticketsOf(p)
	if len(all) < 10 {
		t.Fatalf("%d tickets are too few", len(all))
	}
	offer(t, dir, p, all...)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			if log, err := drain(dir, fmt.Sprint("w", i), all[i], nil); err != nil || strings.Count(log, "model loaded") != 1 {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	wg.Wait()
	if got := resultBytes(t, dir, p); got != wanted(t, 12) {
		t.Errorf("records\n%s", got)
	}
	claims := claimants(t, dir)
	if len(claims) != len(all) {
		t.Errorf("%d tickets claimed, want %d", len(claims), len(all))
	}
	loads := map[string]int{}
	for _, j := range p.Jobs {
		rows := 0
		for _, id := range j.Shards {
			_, records, err := result.ReadCheckpoint(dir.Rows(id, 1))
			if n, _ := dir.LastAttempt(id); err != nil || n != 1 {
				t.Errorf("shard %s: attempt %d, %v", id, n, err)
			}
			rows += len(records)
		}
		end, err := result.ReadEnd(dir.End(j.ID, 1))
		if err != nil || end.Code != 0 || end.Host != "node1" || end.Rows != rows || end.Tokens == 0 || end.Seconds <= end.LoadSeconds {
			t.Errorf("%s ended with %+v (%v), want %d rows", j.ID, end, err, rows)
		}
		pr, err := result.ReadProgress(dir.Progress(j.ID, 1))
		if err != nil || pr.Rows != end.Rows || pr.Tokens != end.Tokens || pr.Shard != j.Shards[len(j.Shards)-1] {
			t.Errorf("%s: progress %+v (%v) beside %+v", j.ID, pr, err, end)
		}
		if end.LoadSeconds > 0 {
			loads[claims[j.ID+".1"]]++
		}
	}
	if loads["w0"] != 1 || loads["w1"] != 1 {
		t.Errorf("tickets that paid for a load, by worker: %v", loads)
	}
}

// TestLateOffer adds an offer while the last ticket of the first one is done, and one of another pool.
func TestLateOffer(t *testing.T) {
	dir, p := cut(t, 4, 8)
	all := ticketsOf(p)
	offer(t, dir, p, all[0])
	hook(t, "worker:ticket-done", 1, func() {
		offer(t, dir, p, all[1], result.Ticket{Job: "not in the plan", Attempt: 1}, all[2])
		if err := dir.AddOffer(result.Offer{Pool: "another", Tickets: all[3:]}); err != nil {
			t.Error(err)
		}
	})
	log, err := drain(dir, "w", all[0], nil)
	if claims := claimants(t, dir); err != nil || len(claims) != 3 || claims[all[1].String()] != "w" || claims[all[2].String()] != "w" {
		t.Errorf("%v, %v\n%s", claims, err, log)
	}
}

// TestNothingToDo has neither model nor plan: a worker without a ticket looks at neither.
func TestNothingToDo(t *testing.T) {
	dir, p := cut(t, 4, 8)
	all := ticketsOf(p)
	offer(t, dir, p, all...)
	for _, ticket := range all {
		if ok, err := dir.Take(result.Claim{Ticket: ticket, Worker: "other", Time: time.Now()}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if err := os.Remove(dir.Plan()); err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]result.Ticket{"offered": all[1], "by an attempt of its own": {Job: all[1].Job, Attempt: 7}} {
		if own.Attempt == 7 {
			if err := plan.SaveJob(dir, p.Jobs[1], 7); err != nil {
				t.Fatal(err)
			}
			if ok, err := dir.Take(result.Claim{Ticket: own, Closed: "for a test"}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if log, err := drain(dir, "w", own, nil); err != nil || strings.Contains(log, "model") {
			t.Errorf("%s: %v\n%s", name, err, log)
		}
	}
}

// TestStartedAnew requeues a worker in the middle of a ticket: it takes that up again under a new number, computes only what is missing, and
// then drains. What others decide about is left to them.
func TestStartedAnew(t *testing.T) {
	dir, p := cut(t, 12, 8)
	all := ticketsOf(p)
	claim := func(ticket result.Ticket, worker string) {
		if ok, err := dir.Take(result.Claim{Ticket: ticket, Worker: worker, Time: time.Now()}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	offer(t, dir, p, all...)
	offer(t, dir, p, result.Ticket{Job: all[4].Job, Attempt: 2})
	claim(all[0], "w")
	claim(all[1], "other")
	claim(all[2], "w") // not its first ticket
	claim(all[3], "w") // failed by itself
	claim(all[4], "w") // and a newer ticket is there
	claim(all[5], "w") // given to somebody else again
	if err := os.MkdirAll(dir.Attempt(all[5].Job, 2), 0o777); err != nil {
		t.Fatal(err)
	}
	for i, code := range map[int]int{2: ExitRetry, 3: ExitInput} {
		if err := result.CommitJSON(dir.End(all[i].Job, 1), result.End{Code: code}); err != nil {
			t.Fatal(err)
		}
	}
	whole, q := cut(t, 12, 2000)
	if err := work(t, whole, q, 1); err != nil {
		t.Fatal(err)
	}
	sh, _ := p.Shard(p.Jobs[0].Shards[0])
	task, _ := p.Task(sh.Task)
	h := result.Header{Task: task.ID, Digest: task.Digest, From: sh.From, To: sh.To}
	left := tear(t, dir.Rows(sh.ID, 1), h, records(t, whole, q, task.ID)[sh.From:sh.To])

	log, err := drain(dir, "w", all[0], func(o *Options) { o.Restart = 1 })
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	claims := claimants(t, dir)
	for i, ticket := range all {
		ticket.Attempt = 2
		want := map[int]string{0: "w", 2: "w", 4: "w"}[i]
		if claims[ticket.String()] != want {
			t.Errorf("ticket %v has %q, want %q", ticket, claims[ticket.String()], want)
		}
	}
	c, err := result.ReadClaim(dir.Claim(result.Ticket{Job: all[0].Job, Attempt: 2}))
	if err != nil || c.Restart != 1 || c.Host != "node1" || c.PID != os.Getpid() {
		t.Errorf("the new claim is %+v (%v)", c, err)
	}
	if _, rows, err := result.ReadCheckpoint(dir.Rows(sh.ID, 2)); err != nil || len(rows) != left {
		t.Errorf("%d rows computed again (%v), want %d", len(rows), err, left)
	}
	if first, second := strings.Index(log, all[2].Job+".2"), strings.Index(log, all[6].Job+".1"); first < 0 || second < first {
		t.Errorf("a new ticket was begun before those of before were done:\n%s", log)
	}
	done, err := dir.ResultNames()
	if err != nil || len(done) != len(p.Shards)-3 {
		t.Errorf("%d of %d shards are done (%v), want all but three", len(done), len(p.Shards), err)
	}
	// Once more: nothing is left for it, whether it drains or not.
	for i, own := range []result.Ticket{all[0], all[5]} {
		log, err := drain(dir, "w", own, func(o *Options) { o.Restart, o.Drain = 2, i == 0 })
		if err != nil || strings.Contains(log, "model loaded") {
			t.Errorf("%v\n%s", err, log)
		}
	}
}

// TestTakenByAnother is about a worker that does not drain.
func TestTakenByAnother(t *testing.T) {
	dir, p := cut(t, 4, 8)
	own := ticketsOf(p)[0]
	if ok, err := dir.Take(result.Claim{Ticket: own, Worker: "other", Time: time.Now()}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	alone := func(o *Options) { o.Drain = false }
	log, err := drain(dir, "w", own, alone)
	if ExitCode(err) != ExitRetry || !strings.Contains(err.Error(), "submit resume "+string(dir)) || strings.Contains(log, "model loaded") {
		t.Errorf("exit %d: %v\n%s", ExitCode(err), err, log)
	}
	own.Attempt = 0
	log, err = drain(dir, "", own, alone)
	if _, e := result.ReadEnd(dir.End(own.Job, 1)); err != nil || !errors.Is(e, fs.ErrNotExist) {
		t.Errorf("by hand: %v; the other's attempt ended (%v)\n%s", err, e, log)
	}
	if end, err := result.ReadEnd(dir.End(own.Job, 2)); err != nil || end.Rows == 0 {
		t.Errorf("by hand: %+v (%v)", end, err)
	}
	log, err = drain(dir, "", own, alone)
	if n, _ := dir.LastAttempt(own.Job); err != nil || n != 2 || !strings.Contains(log, "nothing to do") || strings.Contains(log, "model loaded") {
		t.Errorf("by hand again: attempt %d, %v\n%s", n, err, log)
	}
	own.Attempt = 1
	if log, err = drain(dir, "w", own, alone); err != nil || strings.Contains(log, "model loaded") {
		t.Errorf("with the results there: %v\n%s", err, log)
	}
	closed := ticketsOf(p)[1]
	if ok, err := dir.Take(result.Claim{Ticket: closed, Time: time.Now(), Closed: "its worker never came"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if log, err = drain(dir, "w", closed, alone); err != nil || strings.Contains(log, "model loaded") || !strings.Contains(log, "its worker never came") {
		t.Errorf("taken out of play by a submit: %v\n%s", err, log)
	}
}

// TestShrink does one ticket after another with engines of other sizes: the records are the same. Tickets with more memory are left to
// workers that have it.
func TestShrink(t *testing.T) {
	dir, p := cut(t, 5, 20)
	all := ticketsOf(p)
	pools := map[string][]result.Ticket{}
	for i, j := range p.Jobs {
		if j.Shrink = []int{0, 1, 2, 3, 1}[i%5]; j.Shrink > 0 {
			if err := plan.SaveJob(dir, j, 1); err != nil {
				t.Fatal(err)
			}
		}
		pools[j.Pool()] = append(pools[j.Pool()], all[i])
	}
	var log string
	for pool, tickets := range pools {
		if err := dir.AddOffer(result.Offer{Pool: pool, Tickets: tickets}); err != nil {
			t.Fatal(err)
		}
	}
	for pool, tickets := range pools {
		more, err := drain(dir, "w", tickets[0], func(o *Options) { o.Memory = 1 << 30 })
		if err != nil || strings.Count(more, "took a ticket") != len(tickets) {
			t.Errorf("pool %s, tickets %v: %v\n%s", pool, tickets, err, more)
		}
		log += more
	}
	if got := resultBytes(t, dir, p); got != wanted(t, 5) {
		t.Error(got)
	}
	// The model's batch is 4.
	for _, want := range []string{"shrink=1 batch=2 tokens=512 memory=536870912", "shrink=2 batch=1 tokens=256 memory=268435456",
		"shrink=3 batch=1 tokens=128 memory=134217728"} {
		if strings.Count(log, want) == 0 || len(all) < 5 || len(pools) != 3 {
			t.Errorf("%d tickets in %d pools; the log lacks %q:\n%s", len(all), len(pools), want, log)
		}
	}
}
