package result

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Variant is the directory of a checkpoint that a quantization made: "ABBR-RECIPE" of the packed one, "ABBR-RECIPE-transformed". What is in
// it counts once its Manifest is there.
func (d Dir) Variant(id string) string { return d.join("variants", id) }

// VariantWork is where a quantization keeps what it goes on from when it was stopped.
func (d Dir) VariantWork(id string) string { return d.join("variants", "."+id+".work") }

// Sample is the file of the tokens that a packed variant is calibrated with, as pkg/calib writes it. It stays when the directory is removed.
func (d Dir) Sample(id string) string { return d.join("variants", "."+id+".tokens") }

// Export is the directory of an export, beside those of other variants and layouts: below savePath, or in the run when that is "".
func (d Dir) Export(savePath, variant, layout string) string {
	if savePath == "" {
		savePath = d.join("exports")
	}
	return filepath.Join(savePath, variant, layout)
}

// Manifest says what a quantization made. It lies in the variant's directory, as manifest.json, and is written last.
type Manifest struct {
	Fingerprint string            `json:"fingerprint"` // of the plan's variant: recipe, model, calibration sample
	Model       string            `json:"model"`
	Recipe      string            `json:"recipe"`
	Layout      string            `json:"layout"`          // of its matrices: qformat's names, or "plain"
	Bits        float64           `json:"bits"`            // a quantized parameter takes on disk, scales and zeros included
	Quantized   int64             `json:"quantized"`       // parameters
	Parameters  int64             `json:"parameters"`      // all of them
	Bytes       int64             `json:"bytes"`           // of the weight files
	Calib       string            `json:"calib,omitempty"` // digest of the token sample
	Seconds     float64           `json:"seconds"`         // it took, over all attempts
	Exports     map[string]string `json:"exports,omitempty"`
	Files       map[string]string `json:"files"` // name -> SHA-256
}

// ManifestFile is the manifest of a variant's directory.
func ManifestFile(dir string) string { return filepath.Join(dir, "manifest.json") }

// ReadManifest reads the manifest of a variant's directory. Where there is none the error wraps fs.ErrNotExist.
func ReadManifest(dir string) (m Manifest, err error) {
	data, err := os.ReadFile(ManifestFile(dir))
	if err != nil {
		return m, fmt.Errorf("reading a variant's manifest: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("reading %q: %w; remove the directory and run submit again", ManifestFile(dir), err)
	}
	return m, nil
}

// keptManifest is a copy of a manifest beside the variant's directory: that may be removed when all is scored, and the scores tell of it still.
func (d Dir) keptManifest(id string) string { return d.join("variants", "."+id+".manifest.json") }

// KeepManifest keeps a copy of the manifest of a variant's directory.
func (d Dir) KeepManifest(id string) error {
	m, err := ReadManifest(d.Variant(id))
	if err != nil {
		return err
	}
	return CommitJSON(d.keptManifest(id), m)
}

// Manifest gives the manifest of a variant's directory of that fingerprint, from the copy when the directory is not there. false: there is none.
func (d Dir) Manifest(id, fingerprint string) (Manifest, bool) {
	m, err := ReadManifest(d.Variant(id))
	if err != nil || m.Fingerprint != fingerprint {
		m = Manifest{}
		err = readJSON(d.keptManifest(id), &m)
	}
	return m, err == nil && m.Fingerprint == fingerprint
}

// Runs is how a variant was computed, as its workers said (model.Runs): "packed i4". One entry, unless they were of different kinds.
type Runs struct {
	Fingerprint string   `json:"fingerprint"` // of the plan's variant
	Ways        []string `json:"ways"`        // ascending
}

// runsFile is where the workers of a variant say how they compute. The variant's directory may be removed; this stays.
func (d Dir) runsFile(variant string) string { return d.join("variants", "."+variant+".runs.json") }

// AddRuns notes how a worker computes a variant. Two that say different things at the same moment may leave the word of one of them.
func (d Dir) AddRuns(variant, fingerprint, way string) error {
	ways := d.ReadRuns(variant, fingerprint)
	if way == "" || slices.Contains(ways, way) {
		return nil
	}
	ways = append(ways, way)
	slices.Sort(ways)
	return CommitJSON(d.runsFile(variant), Runs{fingerprint, ways})
}

// ReadRuns gives what the workers of a variant have said. What was said of another fingerprint, or cannot be read, is nothing.
func (d Dir) ReadRuns(variant, fingerprint string) []string {
	var r Runs
	if err := readJSON(d.runsFile(variant), &r); err != nil || r.Fingerprint != fingerprint {
		return nil
	}
	return r.Ways
}

// CheckVariant reads the manifest of a variant's directory and checks that it is of that fingerprint, and that its files are there: those that
// are small by their hash, the weight files by their sizes. It reads no weights: who opens the checkpoint has samples of them compared. The
// error says what to do; where there is no manifest it wraps fs.ErrNotExist.
func CheckVariant(dir, fingerprint string) (Manifest, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return m, err
	}
	if m.Fingerprint != fingerprint {
		return m, fmt.Errorf("%q holds another quantization, %.8s and not %.8s: run submit again, which makes it anew", dir,
			m.Fingerprint, fingerprint)
	}
	weights := int64(0)
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		n, err := checkFile(filepath.Join(dir, name), m.Files[name])
		if err != nil {
			return m, fmt.Errorf("%w; a file of the quantized model was changed or removed: run submit again, which makes it anew", err)
		}
		if filepath.Ext(name) == weightFile {
			weights += n
		}
	}
	if weights != m.Bytes {
		return m, fmt.Errorf("%q: its weight files have %d bytes, and had %d when they were made: run submit again, which makes it anew", dir,
			weights, m.Bytes)
	}
	return m, nil
}

const (
	weightFile = ".safetensors"
	smallFile  = 16 << 20 // is read whole
)

// checkFile gives the size of a file. One that is small and holds no weights must have the hash.
func checkFile(path, sum string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil || filepath.Ext(path) == weightFile || info.Size() > smallFile {
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
		return 0, fmt.Errorf("%q is not what it was", path)
	}
	return int64(len(data)), nil
}
