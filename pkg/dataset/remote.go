package dataset

import (
	"maps"

	"sextant/pkg/objstore"
	"sextant/pkg/spec"
)

// brought is the dataset with the files of object stores brought to this machine.
func brought(d spec.Dataset) (spec.Dataset, error) {
	var err error
	bring := func(path string) string {
		if err == nil {
			path, err = objstore.Path(path)
		}
		return path
	}
	d.Test.Path, d.Test.Labels = bring(d.Test.Path), bring(d.Test.Labels)
	if d.Train != nil && d.FewShot.Kind != "none" {
		train := *d.Train
		train.Path, train.Labels = bring(train.Path), bring(train.Labels)
		d.Train = &train
	}
	d.Columns = maps.Clone(d.Columns)
	for _, name := range keys(d.Columns) {
		c := d.Columns[name]
		c.File = bring(c.File)
		d.Columns[name] = c
	}
	return d, err
}
