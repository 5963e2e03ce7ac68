// Package report renders scores: summary.txt, .csv, .md and .json, the terminal's table, and the progress display of a run.
//
// Of a run that quantizes they have a before/after table too, a line a variant: bits, size, the quantization's seconds, and each score with its
// change on the same rows; and a plot of each perplexity against size.
//
// Of many models there is a leaderboard in the place of the table, a line a model: leaderboard.txt, .csv, .md and .json.
//
// Every rendering is a pure function of score.Scores, so that a report can be made again at any time and equal scores give equal bytes.
// A "-" stands only where nothing was scored, a "*" marks a value that rests on fewer rows than planned, and a line below the table
// says why for each.
package report
