package dataset

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/hashicorp/go-multierror"

	"sextant/pkg/spec"
)

//go:embed catalog/*.toml
var catalogFiles embed.FS

// Catalog is the datasets known by name. Each is a file under catalog/, in the format that a user writes.
type Catalog struct {
	entries map[string]spec.Dataset
}

// NewCatalog reads the catalog that is built in.
func NewCatalog() (*Catalog, error) {
	files, err := catalogFiles.ReadDir("catalog")
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	c := &Catalog{entries: map[string]spec.Dataset{}}
	var problems *multierror.Error
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".toml")
		data, err := catalogFiles.ReadFile(path.Join("catalog", f.Name()))
		if err == nil {
			c.entries[name], err = spec.DecodeDataset(name, data)
		}
		if err != nil {
			problems = multierror.Append(problems, fmt.Errorf("reading the catalog: %w", err))
		}
	}
	return c, problems.ErrorOrNil()
}

// Names lists the catalog's datasets, sorted. A family is one of them, its members are not.
func (c *Catalog) Names() []string { return keys(c.entries) }

// Lookup gives an entry, or a family's member (ABBR-SUBSET, or ABBR/SUBSET), as it is written: paths are relative to the data directory.
func (c *Catalog) Lookup(name string) (spec.Dataset, bool) {
	name = strings.ReplaceAll(name, "/", "-")
	if d, ok := c.entries[name]; ok {
		return d, true
	}
	for i := range len(name) {
		d, ok := c.entries[name[:i]]
		if !ok || name[i] != '-' {
			continue
		}
		if m, ok := d.Member(name[i+1:]); ok {
			return m, true
		}
	}
	return spec.Dataset{}, false
}
