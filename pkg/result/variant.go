package result

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Variant is the directory of a checkpoint that a quantization made: "ABBR-RECIPE" of the packed one, "ABBR-RECIPE-transformed". What is in
// it counts once its Manifest is there.
func (d Dir) Variant(id string) string { return d.join("variants", id) }

// VariantWork is where a quantization keeps what it goes on from when it was stopped.
func (d Dir) VariantWork(id string) string { return d.join("variants", "."+id+".work") }

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
