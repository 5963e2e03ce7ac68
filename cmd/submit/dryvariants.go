package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sextant/pkg/plan"
)

// variantPreview is a model as it is evaluated, or made for others.
type variantPreview struct {
	Variant  string `json:"variant"`
	Model    string `json:"model"`
	Recipe   string `json:"recipe"`
	Position string `json:"position"`
	After    string `json:"after,omitempty"` // the task that makes it
}

// cardsPreview is how many accelerators are used at most at a time.
type cardsPreview struct {
	NumGPUs int `json:"num_gpus"` // of the model that asks for most
	Workers int `json:"workers"`
	Cards   int `json:"cards"` // of the plan: fewer where there are fewer jobs
}

// variants lists what a plan that quantizes evaluates, and the cards.
func (v *preview) variants(p *plan.Plan) {
	most := 0
	for _, j := range p.Jobs {
		most = max(most, j.NumGPUs)
	}
	some := quantizes(p)
	if some || most > 0 {
		v.Cards = &cardsPreview{NumGPUs: most, Workers: v.Workers, Cards: p.Cards()}
	}
	for _, x := range p.Variants {
		if some {
			position := x.Position
			if position == "" {
				position = x.Recipe
			}
			v.Variants = append(v.Variants, variantPreview{Variant: x.ID, Model: x.Model, Recipe: x.Recipe, Position: position, After: x.Step})
		}
	}
}

func (v *preview) printVariants(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "variant\tmodel\trecipe\tposition\tafter")
	for _, x := range v.Variants {
		after := x.After
		if after == "" {
			after = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", x.Variant, x.Model, x.Recipe, x.Position, after)
	}
	tw.Flush()
}

func (c *cardsPreview) say() string {
	text := fmt.Sprintf("num_gpus x max_num_workers = %d x %d = %d", c.NumGPUs, c.Workers, c.NumGPUs*c.Workers)
	switch {
	case c.NumGPUs == 0:
		text += ": on processors alone"
	case c.Cards < c.NumGPUs*c.Workers:
		text += fmt.Sprintf("; these jobs hold %d at most", c.Cards)
	}
	return text
}
