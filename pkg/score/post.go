package score

import (
	"fmt"
	"slices"
	"strings"

	"sextant/pkg/metric"

	"github.com/hashicorp/go-multierror"
)

// processor is a chain of steps from generated text to an answer. It is total: every text has an answer, "" for none.
type processor func(string) string

// compilePost makes one processor of the list under a key of the spec; an empty list changes nothing. A step is "name" or "name:argument",
// as metric.Processor has them. The error is a *multierror.Error with every fault.
func compilePost(key string, post []string) (processor, error) {
	var faults *multierror.Error
	names := metric.Processors()
	for _, p := range post {
		name, _, _ := strings.Cut(p, ":")
		if !slices.Contains(names, name) {
			faults = multierror.Append(faults, fmt.Errorf("%s: %q: %w", key, p, unknown("post-processor", name, names)))
		} else if _, err := metric.Processor(p); err != nil {
			faults = multierror.Append(faults, fmt.Errorf("%s: %q: %w", key, p, err))
		}
	}
	if err := faults.ErrorOrNil(); err != nil {
		return nil, err
	}
	chain, err := metric.Chain(post)
	if err != nil {
		return nil, multierror.Append(nil, fmt.Errorf("%s: %w", key, err))
	}
	return chain, nil
}
