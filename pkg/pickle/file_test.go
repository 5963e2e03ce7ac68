package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sextant/pkg/pickle/pickletest"
)

func read(data []byte) ([]Tensor, error) { return Read(bytes.NewReader(data), int64(len(data))) }

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// value decodes a value.
func value(dtype string, b []byte) float64 {
	var wide [8]byte
	copy(wide[:], b[:dtypeSizes[dtype]])
	n := binary.LittleEndian.Uint64(wide[:])
	switch dtype {
	case "F32":
		return float64(math.Float32frombits(uint32(n)))
	case "BF16":
		return float64(math.Float32frombits(uint32(n) << 16))
	case "F64":
		return math.Float64frombits(n)
	case "F16":
		if n&0x7fff == 0 {
			return 0
		}
		return math.Copysign(math.Ldexp(float64(n&0x3ff|0x400), int(n>>10&31)-25), float64(int16(n)))
	case "I8":
		return float64(int8(n))
	case "I16":
		return float64(int16(n))
	case "I32":
		return float64(int32(n))
	}
	return float64(int64(n))
}

// checkValues holds a contiguous tensor of a golden file against testdata/make/golden.py: value i is i/2 - 3, as the dtype has it.
func checkValues(t *testing.T, file []byte, g Tensor, first func(i int) int) {
	t.Helper()
	width := dtypeSizes[g.DType]
	for i := range int(g.Bytes) / width {
		want := float64(first(i))/2 - 3
		switch g.DType {
		case "U8", "U16":
			want = math.Trunc(math.Abs(want))
		case "I64", "I32", "I16", "I8":
			want = math.Trunc(want)
		case "BOOL":
			want = 1
		}
		if got := value(g.DType, file[int(g.Offset)+i*width:]); got != want {
			t.Fatalf("%s: value %d is %v, want %v", g.Name, i, got, want)
		}
	}
}

// TestGoldens reads files that torch wrote.
func TestGoldens(t *testing.T) {
	want := []string{"f32 F32 [3 5]", "f16 F16 [7]", "bf16 BF16 [2 3 2]", "f64 F64 [3]", "i64 I64 [5]", "i32 I32 [5]", "i16 I16 [5]", "i8 I8 [5]",
		"u8 U8 [5]", "bool BOOL [5]", "scalar F32 []", "empty F32 [0 4]", "whole F32 [4 6]", "rows F32 [2 6]", "columns F32 [4 2] strided",
		"turned F32 [6 4] strided", "param F32 [2 2]"}
	for name, more := range map[string][]string{"zip.pth": nil, "legacy.pth": nil, "protocol4.pth": {"f8 F8_E4M3 [6]", "u16 U16 [4]"}} {
		t.Run(name, func(t *testing.T) {
			file := golden(t, name)
			all, err := read(file)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range all {
				s := fmt.Sprintf("%s %s %v", g.Name, g.DType, g.Shape)
				if !g.Contiguous() {
					s += " strided"
				}
				got = append(got, s)
				if first := (map[string]int{"rows": 6})[g.Name]; g.Contiguous() && g.DType != "F8_E4M3" {
					checkValues(t, file, g, func(i int) int { return first + i })
				}
			}
			if want := append(slices.Clone(want), more...); !slices.Equal(got, want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestModule reads a module's state_dict, which has a state of its own.
func TestModule(t *testing.T) {
	all, err := read(golden(t, "module.bin"))
	if err != nil || len(all) != 2 || all[0].Name != "weight" || fmt.Sprint(all[0].Shape) != "[2 3]" || all[1].Name != "bias" {
		t.Errorf("%v, %v", all, err)
	}
}

// TestWriter holds what the tests' writer writes against what is read, for any sizes.
func TestWriter(t *testing.T) {
	in := []pickletest.Tensor{{Name: "a", DType: "F32", Shape: []int{2, 3}, Data: bytes.Repeat([]byte{1, 2, 3}, 8)}, {Name: "b.weight", DType: "BF16", Shape: []int{5}, Data: []byte("0123456789")},
		{Name: "c", DType: "I64", Data: []byte("12345678")}}
	file := pickletest.File(in)
	all, err := read(file)
	if err != nil || len(all) != len(in) {
		t.Fatal(all, err)
	}
	for i, g := range all {
		w := in[i]
		if g.Name != w.Name || g.DType != w.DType || fmt.Sprint(g.Shape) != fmt.Sprint(w.Shape) || !g.Contiguous() || g.Offset%64 != 0 ||
			!bytes.Equal(file[g.Offset:g.Offset+g.Bytes], w.Data) {
			t.Errorf("%+v", g)
		}
	}
}

// TestNotTensors tells of files that hold other things, and what to do.
func TestNotTensors(t *testing.T) {
	for name, want := range map[string][]string{
		"nested.pth": {`within "model"`, `torch.load(FILE)["model"]`},
		"object.pth": {"data.pkl: pickle, byte ", `"torch.nn.modules.linear.Linear" is refused`, "Nothing was executed", "torch.save("},
		"list.pth":   {"holds a list, want a dictionary of tensors"},
	} {
		_, err := read(golden(t, name))
		wantError(t, name, err, want...)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":     {nil, "is not a file of torch.save"},
		"text":      {[]byte("hello, world, this is a text"), "is not a file of torch.save"},
		"lfs":       {[]byte("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"},
		"no pickle": {pickletest.Zip([]pickletest.Entry{{Name: "a/version", Data: []byte("3")}}), "0 files data.pkl"},
		"big endian": {pickletest.Zip([]pickletest.Entry{{Name: "a/data.pkl", Data: []byte("\x80\x02}.")}, {Name: "a/byteorder", Data: []byte("big")}}),
			`byteorder is "big"`},
		"no tensors": {pickletest.Zip([]pickletest.Entry{{Name: "a/data.pkl", Data: []byte("\x80\x02}.")}}), "holds no tensors"},
	} {
		_, err := read(c.data)
		wantError(t, name, err, c.want)
	}
}

// TestTruncated cuts files at every byte: there is an error, or the same tensors, and never a panic.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"zip.pth", "legacy.pth"} {
		file := golden(t, name)
		for n := range file {
			if _, err := read(file[:n]); err == nil {
				t.Fatalf("%s, cut at byte %d of %d, was read", name, n, len(file))
			}
		}
	}
}

func wantError(t testing.TB, name string, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: error does not say %q:\n%v", name, p, err)
		}
	}
}
