package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/result"
	"sextant/pkg/run"
	"sextant/pkg/score"
	"sextant/pkg/sweep"
)

// failedIn tells which members of a batch lack rows, and why.
func failedIn(p *plan.Plan, dir string, b sweep.Batch) (map[string]string, error) {
	all, err := score.Read(scoresFile(result.Dir(dir)))
	if err != nil {
		return nil, err
	}
	model := map[string]string{} // by variant
	for _, v := range p.Variants {
		model[v.ID] = v.Model
	}
	lacks, rows, reasons, scored := map[string]int{}, map[string]int{}, map[string]string{}, map[string]bool{}
	for _, x := range all.Scores {
		if x.Further {
			continue
		}
		m := model[x.Model]
		scored[m] = true
		lacks[m], rows[m] = lacks[m]+x.Missing, rows[m]+x.N+x.Missing
		if x.Missing > 0 && reasons[m] == "" {
			reasons[m] = x.Dataset + ": " + x.Reason
		}
	}
	failed := map[string]string{}
	for _, m := range b.Members {
		if !scored[m.Model] {
			failed[m.Name] = "it has no scores"
		} else if lacks[m.Model] > 0 {
			failed[m.Name] = fmt.Sprintf("%d of %d rows missing: %s", lacks[m.Model], rows[m.Model], reasons[m.Model])
		}
	}
	return failed, nil
}

// joined are the scores of all batches. A run that was removed is passed over: its checkpoints have no line any more.
func (s *sweeper) joined(r *sweep.Rounds, anew string) (*joined, error) {
	var parts []boardPart
	for _, name := range r.Runs() {
		if s.parts[name] == nil || name == anew {
			part, err := readPart(filepath.Join(s.work, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			s.parts[name] = part
		}
		parts = append(parts, *s.parts[name])
	}
	return joinParts(parts), nil
}

// catchUp takes up what an earlier watch has not: rows that submit resume has added to its runs, and a leaderboard that it did not come to.
func (s *sweeper) catchUp(r *sweep.Rounds) error {
	for _, b := range r.Lacking() {
		dir := filepath.Join(s.work, b.Run)
		p, err := run.LoadPlan(dir)
		if errors.Is(err, run.ErrNoRun) {
			continue // it was removed
		} else if err != nil {
			return err
		}
		failed, err := failedIn(p, dir, b)
		if err == nil {
			err = r.Mended(b, failed)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	all, err := s.joined(r, "")
	if err != nil || len(all.Scores.Scores) == 0 {
		return err
	}
	_, err = s.write(all)
	return err
}

// write writes the files of the leaderboard.
func (s *sweeper) write(all *joined) (report.Board, error) {
	board, err := report.NewBoard(all.Scores, s.c.String("by"))
	if err == nil {
		err = board.Write(s.work)
	}
	if err == nil {
		err = all.page(filepath.Join(s.work, boardPage), board, "checkpoints of "+s.dir)
	}
	return board, err
}

// tell writes the leaderboard anew after a batch, and tells how the batch's checkpoints did.
func (s *sweeper) tell(r *sweep.Rounds, b *sweep.Batch) error {
	all, err := s.joined(r, b.Run)
	if err != nil {
		return err
	}
	_, reasons := r.Standing()
	for _, m := range b.Members {
		if reasons[m.Name] != "" {
			s.say(fmt.Sprintf("%s: %s; submit resume %s tries again", m.Name, reasons[m.Name], relative(filepath.Join(s.work, b.Run))))
		}
	}
	if len(all.Scores.Scores) == 0 {
		return nil
	}
	board, err := s.write(all)
	if err != nil {
		return err
	}
	for _, row := range board.Rows {
		for _, m := range b.Members {
			if all.of[row.Model] == m.Model {
				fmt.Fprintf(s.stderr, "%s\n", boardLine(board, row))
			}
		}
	}
	fmt.Fprintf(s.stderr, "leaderboard: %s\n", relative(filepath.Join(s.work, "leaderboard.{txt,md,csv,json,html}")))
	return nil
}

// last prints the leaderboard, and says what has no place in it.
func (s *sweeper) last(r *sweep.Rounds) error {
	all, err := s.joined(r, "")
	if err != nil {
		return err
	}
	if len(all.Scores.Scores) > 0 {
		board, err := report.NewBoard(all.Scores, s.c.String("by"))
		if err != nil {
			return err
		}
		if err := s.printBoard(board); err != nil {
			return err
		}
	}
	status, reasons := r.Standing()
	stand := map[string]int{}
	for _, st := range status {
		stand[string(st)]++
	}
	if len(stand) > 0 {
		fmt.Fprintf(s.stderr, "checkpoints: %s\n", counts(stand))
	}
	troubled := r.Troubled()
	for _, name := range troubled {
		if !s.said[name] { // but by an earlier watch
			fmt.Fprintf(s.stderr, "%s: %s: %s\n", name, status[name], reasons[name])
		}
	}
	if len(troubled) > 0 {
		return errIncomplete
	}
	return nil
}
