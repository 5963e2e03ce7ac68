package slurm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/internal/points"
	"sextant/scheduler"
	"sextant/scheduler/batch"
)

// Submit queues jobs as job arrays and returns those accepted, in order; when that is fewer than were given, the error is of the first that was
// not. ErrBusy says that a limit of the cluster is reached: nearly as many as it takes are accepted before. A job of which it is not known whether
// the cluster has it is accepted without an ID; Poll finds out. Submit waits for sbatch even when ctx ends.
func (s *Scheduler) Submit(ctx context.Context, jobs []scheduler.Job) ([]scheduler.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.submit(ctx, jobs)
	s.pace.Soon()
	refs := make([]scheduler.Ref, 0, len(jobs))
	for _, j := range jobs {
		p, ok := s.byName[j.Name]
		if !ok {
			if refusesAll(err) {
				return refs, err
			}
			return refs, fmt.Errorf("submitting job %q: %w", j.Name, err)
		}
		refs = append(refs, p.ref())
	}
	return refs, nil
}

// piece is jobs that are to be one array.
type piece struct {
	jobs  []scheduler.Job
	order int // of the first of them among those given
}

func (s *Scheduler) submit(ctx context.Context, jobs []scheduler.Job) error {
	fresh, order := s.unknown(jobs)
	if len(fresh) == 0 {
		return nil
	}
	if err := s.ready(ctx, fresh); err != nil {
		return err
	}
	n, scriptErr := s.writeScripts(fresh)
	fresh = fresh[:n]
	berths := s.berths(ctx, slices.DeleteFunc(slices.Clone(fresh), func(j scheduler.Job) bool { return len(s.gate(j.After)) > 0 }))
	queue := s.pieces(fresh, order)
	for len(queue) > 0 {
		p := queue[0]
		first, rest := s.split(p, order, s.most(berths[p.jobs[0].Pool], p.jobs[0]))
		queue = requeue(queue[1:], rest)
		began := s.now()
		err := s.submitArray(ctx, first.jobs, berths[first.jobs[0].Pool])
		if err == nil {
			if err := s.window.accepted(s.liveJobs(), s.features.maxArraySize, s.now()); err != nil && len(queue) > 0 {
				return err
			}
			continue
		}
		at := s.smaller(first.jobs, err, s.now().Sub(began))
		if at == 0 {
			return err
		}
		first, rest = s.split(first, order, at)
		queue = requeue(requeue(queue, rest), first)
	}
	return scriptErr
}

// ready learns what must be known before jobs are submitted: what became of earlier arrays, and whether any more are taken.
func (s *Scheduler) ready(ctx context.Context, fresh []scheduler.Job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if slices.ContainsFunc(s.arrays, func(a *array) bool { return a.inDoubt() || !a.looked && a.live > 0 }) {
		if err := s.look(ctx); err != nil {
			return err
		}
	}
	s.avoid(ctx, fresh)
	if !s.features.asked { // the controller did not answer then
		if f, err := s.cli.probe(ctx); err == nil {
			s.features = f
		}
	}
	return s.window.open(s.liveJobs(), len(fresh), s.now())
}

// unknown gives the jobs whose names no array has, each once, and their places among those given.
func (s *Scheduler) unknown(jobs []scheduler.Job) (fresh []scheduler.Job, order map[string]int) {
	order = make(map[string]int, len(jobs))
	for i, j := range jobs {
		_, twice := order[j.Name]
		if _, known := s.byName[j.Name]; !known && !twice {
			order[j.Name] = i
			fresh = append(fresh, j)
		}
	}
	return fresh, order
}

func (s *Scheduler) pieces(jobs []scheduler.Job, order map[string]int) []piece {
	var all []piece
	for _, g := range groups(jobs) {
		for _, same := range byAfter(g) {
			for part := range slices.Chunk(same, max(s.features.maxArraySize, 1)) {
				all = append(all, piece{part, order[part[0].Name]})
			}
		}
	}
	slices.SortFunc(all, func(a, b piece) int { return a.order - b.order })
	return all
}

// split cuts a piece after n jobs.
func (s *Scheduler) split(p piece, order map[string]int, n int) (first, rest piece) {
	n = min(n, len(p.jobs))
	first = piece{p.jobs[:n:n], p.order}
	if n < len(p.jobs) {
		rest = piece{p.jobs[n:], order[p.jobs[n].Name]}
	}
	return first, rest
}

// requeue puts a piece back in its place: what comes first is submitted first, so that what is refused is the first that is not accepted.
func requeue(queue []piece, p piece) []piece {
	if len(p.jobs) == 0 {
		return queue
	}
	i, _ := slices.BinarySearchFunc(queue, p.order, func(q piece, order int) int { return q.order - order })
	return slices.Insert(queue, i, p)
}

// writeScripts writes the batch scripts that are not there as they should be. It gives how many jobs have theirs, and why the next has not.
// Attempts of a job share a script, which another attempt may be reading: it is written anew only when it differs, in what it asks for, say,
// and by a rename, so that who has the old one open reads that to its end.
func (s *Scheduler) writeScripts(jobs []scheduler.Job) (int, error) {
	done := make(map[string]bool, len(jobs))
	for i, j := range jobs {
		name := scriptName(j)
		if done[name] {
			continue
		}
		done[name] = true
		data, err := s.opt.script(j, s.features)
		if err != nil {
			return i, err
		}
		if err := s.writeScript(name, data); err != nil {
			return i, fmt.Errorf("writing the script of job %q: %w", j.Name, err)
		}
	}
	points.Reached("slurm:scripts-written")
	return len(jobs), nil
}

func (s *Scheduler) writeScript(name string, data []byte) error {
	sum := sha256.Sum256(data)
	if s.written[name] == sum {
		return nil
	}
	path := filepath.Join(s.opt.Scripts, name)
	if old, err := os.ReadFile(path); err != nil || sha256.Sum256(old) != sum {
		if err := batch.Replace(path, data, scriptMode, false); err != nil {
			return err
		}
	}
	s.written[name] = sum
	return nil
}

// submitArray submits jobs as one array. When it gives an error, either the jobs' names are known, for the array is there or may be; or they
// are not, and it is not there.
func (s *Scheduler) submitArray(ctx context.Context, jobs []scheduler.Job, b *berth) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := s.prepare(ctx, jobs, b)
	if err != nil {
		return err
	}
	args := []string{"--parsable", "--chdir=" + s.opt.Dir}
	if after := slices.Concat(a.After, a.Gate); len(after) > 0 {
		args = append(args, "--dependency=afterany:"+strings.Join(after, ":"))
	}
	points.Reached("slurm:before-sbatch")
	out, err := s.cli.finish(ctx, "sbatch", append(args, s.path(a.Token, scriptSuffix))...)
	points.Reached("slurm:after-sbatch")
	id, ok := parseSubmitted(out)
	switch {
	case err == nil && ok:
		a.id = id
		b.take(a)
		err = s.durable(a.Token+idSuffix, []byte(id+"\n"))
		a.noted = err == nil
		points.Reached("slurm:id-written")
		return err
	case err == nil:
		b.take(a)
		return fmt.Errorf("%w: sbatch gave no number: it said %q", scheduler.ErrDown, strings.Join(strings.Fields(out), " "))
	case inDoubt(err):
		b.take(a)
		return fmt.Errorf("%w: an earlier submission may not be complete: %w", scheduler.ErrDown, s.opt.Ask.explain(err))
	}
	err = s.opt.Ask.explain(err)
	return errors.Join(err, s.refused(a, err))
}

// refused forgets an array that is not there. Of those refused for a limit, of which there may be many, nothing is kept.
func (s *Scheduler) refused(a *array, why error) error {
	err := s.voided(a, why)
	suffixes := []string{listSuffix, scriptSuffix}
	if errors.Is(why, scheduler.ErrBusy) {
		suffixes = append(suffixes, manifestSuffix, voidSuffix)
		s.arrays = slices.DeleteFunc(s.arrays, func(other *array) bool { return other == a })
		delete(s.byToken, a.Token)
	}
	for _, suffix := range suffixes {
		os.Remove(s.path(a.Token, suffix))
	}
	return err
}

// prepare writes all that an array needs, the manifest last.
func (s *Scheduler) prepare(ctx context.Context, jobs []scheduler.Job, b *berth) (*array, error) {
	token := s.opt.newToken()
	gate := s.gate(jobs[0].After)
	if len(gate) > 0 {
		b = &berth{room: s.opt.Workers}
	}
	after, throttle, err := s.moor(ctx, b, len(jobs))
	if err != nil {
		return nil, err
	}
	all, err := shared(jobs)
	if err != nil {
		return nil, err
	}
	m := manifest{Token: token, Pool: all.Pool, Lane: b.lane, Throttle: throttle, After: after, Gate: gate, Time: s.now(), Asked: asked{GPUs: all.GPUs,
		Procs: all.Procs, Threads: all.Threads, Memory: all.Memory, Limit: all.Limit, Exclude: all.Exclude}}
	if m.Lane == "" {
		m.Lane = token
	}
	for _, j := range jobs {
		m.Jobs, m.Weights = append(m.Jobs, j.Name), append(m.Weights, j.Weight)
	}
	if err := s.write(m, jobs); err != nil {
		for _, suffix := range []string{manifestSuffix, listSuffix, scriptSuffix} {
			os.Remove(s.path(token, suffix))
		}
		return nil, err
	}
	a := newArray(m)
	s.add(a)
	return a, nil
}

func (s *Scheduler) write(m manifest, jobs []scheduler.Job) error {
	script, err := s.opt.arrayScript(m.Token, jobs, m.Throttle, s.features)
	if err != nil {
		return err
	}
	lines, err := list(jobs)
	if err != nil {
		return err
	}
	if err := batch.Replace(s.path(m.Token, listSuffix), lines, 0o644, true); err != nil {
		return fmt.Errorf("writing the list of an array: %w", err)
	}
	points.Reached("slurm:list-written")
	if err := batch.Replace(s.path(m.Token, scriptSuffix), script, scriptMode, true); err != nil {
		return fmt.Errorf("writing the script of an array: %w", err)
	}
	points.Reached("slurm:script-written")
	data, err := encode(m)
	if err != nil {
		return err
	}
	err = s.durable(m.Token+manifestSuffix, data)
	points.Reached("slurm:manifest-written")
	return err
}
