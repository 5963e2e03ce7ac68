package main

import (
	"io"

	"sextant/pkg/plan"
	"sextant/pkg/report"
	"sextant/pkg/run"
	"sextant/pkg/score"
)

// writeSummary writes summary.* into a run's directory, and says how to show the scores. A run with a sweep, or with more models than a table
// can show, has leaderboard.* too, and the leaderboard is shown.
func writeSummary(r *run.Run, all score.Scores) (show func(io.Writer, score.Scores) error, err error) {
	if err := report.Write(string(r.Dir), all); err != nil {
		return nil, err
	}
	if !ranked(r.Plan, all) {
		return report.Terminal, nil
	}
	return report.TerminalBoard, report.WriteBoard(string(r.Dir), all, "")
}

// ranked says that a run's scores have a leaderboard.
func ranked(p *plan.Plan, all score.Scores) bool {
	return len(all.Scores) > 0 && (report.Many(all) || p.Spec.Swept && len(p.Variants) > 1)
}
