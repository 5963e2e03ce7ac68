package run

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"time"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/scheduler"
)

// simProc is a worker's process. It follows the protocol of pkg/worker; between any two of its operations it may die.
type simProc struct {
	sim      *simCluster
	hand     *simHand
	dir      result.Dir
	id       string // its job's
	attempt  int
	drain    bool
	restart  int
	pid      int
	node     int
	next     func() (string, bool)
	stop     func()
	yield    func(string) bool
	dead     bool
	orphaned bool
	died     int // step
	code     int
	job      plan.Job // being done
	n        int      // its attempt
	offers   map[string]result.Offer
}

func newSimProc(s *simCluster, h *simHand) *simProc {
	p := &simProc{sim: s, hand: h, dir: s.dir(h.job), id: h.job.Script, restart: h.restart, pid: 100 + s.now*1000 + len(s.procs), node: h.node,
		drain: slices.Contains(h.job.Tail, "--drain"), offers: map[string]result.Offer{}}
	p.attempt, _ = strconv.Atoi(h.job.Tail[1])
	p.next, p.stop = iter.Pull(p.run)
	return p
}

// The ways out of a process.
type (
	simKilled struct{}
	simExit   int
)

func (p *simProc) run(yield func(string) bool) {
	p.yield = yield
	defer func() {
		switch r := recover().(type) {
		case nil, simKilled:
		case simExit:
			p.code = int(r)
		default:
			panic(r)
		}
	}()
	p.work()
}

// at is a moment between two operations.
func (p *simProc) at(op string) {
	if !p.yield(op) {
		panic(simKilled{})
	}
}

// advance makes one operation. A process that is done takes its hand with it.
func (p *simProc) advance() {
	if _, more := p.next(); more {
		return
	}
	p.bury()
	if p.hand.proc != p {
		return
	}
	p.hand.proc = nil
	st := scheduler.Status{State: scheduler.Done}
	switch {
	case p.code == simMemory:
		st = scheduler.Status{State: scheduler.Failed, Cause: scheduler.Memory, Reason: "OUT_OF_MEMORY"}
	case p.code > 0:
		st = scheduler.Status{State: scheduler.Failed, ExitCode: p.code, Reason: "exit code " + strconv.Itoa(p.code)}
	}
	p.sim.set(p.hand, st)
}

const simMemory = 1000 // the code of a process that the kernel killed

func (p *simProc) kill() { p.stop(); p.bury() }

func (p *simProc) bury() { p.dead, p.died = true, p.sim.now }

func (p *simProc) must(err error) {
	if err != nil {
		p.sim.odd("worker of %s: %v", p.hand.job.Name, err)
		panic(simExit(1))
	}
}

func (p *simProc) work() {
	p.at("begun")
	again := p.unfinished()
	for _, j := range again {
		p.renew(j)
	}
	t, early := result.Ticket{Job: p.id, Attempt: p.attempt}, false
	if _, err := result.ReadClaim(p.dir.Claim(t)); err != nil || !p.drain && len(again) == 0 {
		j, err := plan.LoadJob(p.dir, p.sim.plan, t.Job, t.Attempt)
		if err != nil {
			panic(simExit(64))
		}
		switch {
		case !p.ripe(j):
			early = true
		case p.take(t):
			p.do(j, t.Attempt)
		case !p.drain:
			panic(simExit(75))
		}
	}
	for p.drain && p.open() {
		early = false
	}
	if early {
		p.sim.early++
		panic(simExit(75))
	}
	if p.code != 0 {
		panic(simExit(p.code))
	}
}

// ripe says that what a job comes after is done.
func (p *simProc) ripe(j plan.Job) bool {
	for _, id := range j.After {
		if first, _ := p.sim.plan.Job(id); !p.whole(first) {
			return false
		}
	}
	return true
}

// whole says that every shard of a job has its result.
func (p *simProc) whole(j plan.Job) bool {
	for _, id := range j.Shards {
		sh, _ := p.sim.plan.Shard(id)
		t, _ := p.sim.plan.Task(sh.Task)
		if h, _, err := result.Read(p.dir.Result(id)); err != nil || h.Digest != t.Digest {
			return false
		}
	}
	return true
}

func (p *simProc) take(t result.Ticket) bool {
	p.at("take")
	ok, err := p.dir.Take(result.Claim{Ticket: t, Worker: p.hand.job.Name, Restart: p.restart, Host: nodeName(p.node), PID: p.pid, Time: time.Now()})
	p.must(err)
	return ok
}

// unfinished lists what this hand had claimed before it was started anew.
func (p *simProc) unfinished() []plan.Job {
	if p.restart == 0 {
		return nil
	}
	claimed, err := p.dir.Claimed()
	p.must(err)
	p.readOffers()
	newest := map[string]int{}
	for _, t := range claimed {
		newest[t.Job] = max(newest[t.Job], t.Attempt)
	}
	for _, o := range p.offers {
		for _, t := range o.Tickets {
			newest[t.Job] = max(newest[t.Job], t.Attempt)
		}
	}
	var again []plan.Job
	for _, t := range claimed {
		c, err := result.ReadClaim(p.dir.Claim(t))
		if t.Attempt < newest[t.Job] || err != nil || c.Worker != p.hand.job.Name || c.Restart >= p.restart || c.Closed != "" {
			continue
		}
		if end, err := result.ReadEnd(p.dir.End(t.Job, t.Attempt)); err == nil && end.Code != 75 {
			continue
		}
		j, err := plan.LoadJob(p.dir, p.sim.plan, t.Job, t.Attempt)
		if err != nil {
			panic(simExit(64))
		}
		again = append(again, j)
	}
	return again
}

func (p *simProc) renew(j plan.Job) {
	p.at("renew")
	n, err := p.dir.NewAttempt(j.ID, j.Shards)
	p.must(err)
	p.at("renewed")
	p.must(plan.SaveJob(p.dir, j, n))
	if p.take(result.Ticket{Job: j.ID, Attempt: n}) {
		p.do(j, n)
	}
}

func (p *simProc) readOffers() {
	names, err := p.dir.OfferNames()
	p.must(err)
	for _, name := range names {
		if _, ok := p.offers[name]; !ok {
			if _, ok := p.sim.offers[name]; !ok {
				o, err := p.dir.ReadOffer(name)
				p.must(err)
				p.sim.offers[name] = o
			}
			p.offers[name] = p.sim.offers[name]
		}
	}
}

// open does an open ticket of the pool, if there is one.
func (p *simProc) open() bool {
	p.at("look")
	p.readOffers()
	own, ok := p.sim.plan.Job(p.id)
	if !ok {
		panic(simExit(64))
	}
	for _, name := range sortedKeys(p.offers) {
		if p.offers[name].Pool != own.Pool() {
			continue
		}
		tickets := p.offers[name].Tickets
		for i := p.sim.taken[name]; i < len(tickets); i++ {
			t := tickets[i]
			if exists(p.dir.Claim(t)) {
				if i == p.sim.taken[name] {
					p.sim.taken[name]++
				}
				continue
			}
			j, err := plan.LoadJob(p.dir, p.sim.plan, t.Job, t.Attempt)
			if err == nil && p.ripe(j) && p.take(t) {
				p.do(j, t.Attempt)
				return true
			}
		}
	}
	return false
}

// do carries out a ticket.
func (p *simProc) do(j plan.Job, n int) {
	p.job, p.n = j, n
	code := 0
	for _, id := range j.Shards {
		p.at("shard")
		sh, ok := p.sim.plan.Shard(id)
		if !ok {
			panic(simExit(64))
		}
		code = max(code, p.shard(sh))
	}
	p.at("end")
	p.must(result.CommitJSON(p.dir.End(j.ID, n), result.End{Code: code, Host: nodeName(p.node)}))
	if code == 0 && p.sim.strikes("late") {
		p.sim.delay(p)
	}
	p.job = plan.Job{}
	p.code = max(p.code, code)
	if code != 0 && (code != 64 || p.sim.rng.IntN(2) == 0) {
		panic(simExit(code))
	}
}

func (p *simProc) shard(sh plan.Shard) int {
	t, _ := p.sim.plan.Task(sh.Task)
	if !p.sim.silent {
		p.must(result.CommitJSON(p.dir.Progress(p.job.ID, p.n), result.Progress{Shard: sh.ID, Phase: "run"}))
	}
	store := result.NewStore(p.dir)
	p.must(store.Refresh(sh.ID))
	if p.sim.faults["reshape"] > 0 { // shards of other names may hold the rows
		p.must(store.Refresh())
	}
	rows, err := store.Collect(result.Query{Task: t.ID, Digest: t.Digest, From: sh.From, To: sh.To})
	p.must(err)
	h := result.Header{Task: t.ID, Digest: t.Digest, From: sh.From, To: sh.To}
	p.at("collected")
	since := p.sim.now
	cp, err := result.CreateCheckpoint(p.dir.Rows(sh.ID, p.n), h)
	p.must(err)
	defer cp.Close()
	records := rows.Records
	for _, row := range rows.Missing() {
		p.at("row")
		if code, stop := p.misbehave(sh, row); stop {
			return code
		}
		if !p.ripe(p.job) && p.sim.faults["damage"] == 0 {
			p.sim.odd("row %d of %s was computed before what it comes after", row, t.ID)
		}
		r := fakeRecord(t, row)
		p.must(cp.Append(r))
		p.sim.computed(p, t.ID, row, since)
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b result.Record) int { return cmp.Compare(a.Row, b.Row) })
	if t.Kind == plan.Quantize {
		v, _ := p.sim.plan.Variant(t.Variant)
		p.must(result.CommitJSON(result.ManifestFile(p.dir.Variant(v.ID)), result.Manifest{Fingerprint: v.Fingerprint}))
	}
	p.at("write")
	p.must(result.Write(p.dir.Result(sh.ID), h, records))
	return 0
}

// misbehave does what is bound to happen in a bad shard, at its row in the middle.
func (p *simProc) misbehave(sh plan.Shard, row int) (code int, stop bool) {
	if p.job.Shrink < p.sim.need {
		p.sim.struck[sh.ID]++
		panic(simExit(simMemory))
	}
	kind := p.sim.bad[sh.ID]
	if kind == "" || kind == "big" || row < (sh.From+sh.To)/2 {
		return 0, false
	}
	p.sim.struck[sh.ID]++
	switch kind {
	case "input":
		p.must(result.CommitJSON(p.dir.Failure(sh.ID, p.n), result.Failure{Kind: result.FailInput, Reason: "a bad row", Row: &row}))
		return 64, true
	case "doom":
		p.must(result.CommitJSON(p.dir.Failure(p.job.ID, p.n), result.Failure{Kind: result.FailInput, Reason: "a bad task"}))
		return 64, true
	case "retry":
		p.must(result.CommitJSON(p.dir.Failure(sh.ID, p.n), result.Failure{Kind: result.FailRetry, Reason: "not now", Row: &row}))
		return 75, true
	}
	panic(simExit(1))
}

// computed notes who computed a row. It must not have been there when the shard was looked at, unless somebody else was at it at the time.
func (s *simCluster) computed(p *simProc, task string, row, since int) {
	key := task + " " + strconv.Itoa(row)
	for _, o := range s.wrote[key] {
		alive := !o.dead || o.died >= since
		switch {
		case o == p:
			s.odd("row %s was computed twice by one process", key)
		case !alive && s.faults["damage"]+s.faults["late"] == 0:
			s.odd("row %s was computed again after it had been checkpointed by one who was gone", key)
		case alive && !o.orphaned && !p.orphaned && o.hand.proc == o && s.trusted():
			s.odd("row %s was computed by %s though %s was at it", key, p.hand.job.Name, o.hand.job.Name)
		}
	}
	s.wrote[key] = append(s.wrote[key], p)
}

// trusted says that the submit is never told of the end of what goes on.
func (s *simCluster) trusted() bool {
	return s.faults["doubt"]+s.faults["ghost"]+s.faults["split"]+s.faults["damage"]+s.faults["late"]+s.faults["reshape"] == 0
}
