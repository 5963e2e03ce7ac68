package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table writes the report for people.
func (r *Report) Table(out io.Writer) error {
	m := r.Model
	weights := "weights"
	if m.Random {
		weights = "random weights"
	}
	dtype := m.DType
	if _, plain := formats[dtype]; !plain {
		dtype += ", the output matrix in i8"
	}
	_, err := fmt.Fprintf(out, "%s: %s parameters, %s of %s in %s\n%s; %s\nloaded in %.3f s, the first token after %.3f s; peak memory %s\n\n%s\n%s",
		m.Name, short(float64(m.Parameters)), short(float64(m.Bytes))+"B", weights, dtype, r.Machine.CPU, r.Machine.Features,
		r.Startup.Load, r.Startup.FirstToken, short(float64(r.PeakRSS))+"B", r.works(), r.legend())
	return err
}

func (r *Report) works() string {
	t := table.NewWriter()
	t.SetStyle(table.Style{Name: "plain", Box: table.BoxStyle{MiddleHorizontal: "-", MiddleSeparator: "-", MiddleVertical: " ", PaddingRight: " "},
		Options: table.Options{SeparateColumns: true, SeparateHeader: true}})
	t.AppendHeader(table.Row{"work", "rate", "lowest to highest", "bound by", "at", "of peak", "cores", "what"})
	var columns []table.ColumnConfig
	for i := 2; i <= 7; i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for _, w := range r.Works {
		if w.Skipped != "" {
			t.AppendRow(table.Row{w.Name, "", "", "", "", "", "", "left out: " + w.Skipped})
			continue
		}
		at := digits(w.GFLOPs) + " GFLOP/s"
		if w.Bound == "memory" {
			at = digits(w.GBs) + " GB/s"
		}
		t.AppendRow(table.Row{w.Name, digits(w.Rate) + " " + w.Unit + "/s", digits(slices.Min(w.Samples)) + " to " + digits(slices.Max(w.Samples)),
			w.Bound, at, fmt.Sprintf("%.0f %%", 100*w.Share), fmt.Sprintf("%.1f", w.Cores), w.What})
	}
	var b strings.Builder
	for line := range strings.Lines(t.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// legend says what the shares are of.
func (r *Report) legend() string {
	var units []string
	for _, c := range r.Peaks.Compute {
		units = append(units, fmt.Sprintf("%s %s %s", digits(c.GFLOPs), c.DType, c.ISA))
	}
	best := r.Peaks.peak(r.Model.DType)
	sharing := ""
	if r.Sharing > 0 {
		sharing = fmt.Sprintf("Sharing of prefixes: rank has %sx the rate of rank-alone.\n", digits(r.Sharing))
	}
	if best.ISA == deviceISA {
		return sharing + fmt.Sprintf("Medians of %d samples. Measured in the same rounds, on the device: a product of large matrices, the best of them,\n"+
			"GFLOP/s: %s; copying %s within its memory, the median: %s GB/s read and written. Shares are of these two,\n"+
			"and count only work that no implementation can do without.\n",
			r.Repeat, strings.Join(units, ", "), short(float64(r.Peaks.ReadBytes/2))+"B", digits(r.Peaks.Read))
	}
	return sharing + fmt.Sprintf("Medians of %d samples. Measured in the same rounds: multiply-adds in registers, the best of them,\n"+
		"GFLOP/s: %s; reading %s of memory for half a second, the median: %s GB/s. Shares are of\n%s %s and of the reading, "+
		"and count only work that no implementation can do without.\n",
		r.Repeat, strings.Join(units, ", "), short(float64(r.Peaks.ReadBytes))+"B", digits(r.Peaks.Read), best.DType, best.ISA)
}

// digits gives three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// short writes a large number with the letter of its thousands.
func short(v float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.of {
			return digits(v/u.of) + " " + u.name
		}
	}
	return digits(v) + " "
}
