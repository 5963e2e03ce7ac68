package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sextant/internal/s3lab"
	"sextant/pkg/objstore"
)

// remote puts a model's files on a server, and gives the address.
func remote(t *testing.T, lab *s3lab.Server, dir, name string) string {
	t.Helper()
	lab.PutDir(t, "models", name+"/", dir)
	return "p:s3://models/" + name + "/"
}

// useStore makes the process read through a proxy, with a cache of the test's.
func useStore(t *testing.T, lab *s3lab.Server) *s3lab.Proxy {
	t.Helper()
	proxy := lab.Proxy(t)
	objstore.Use(objstore.Options{Profiles: lab.Profiles(t, "p", proxy.URL), CacheDir: filepath.Join(t.TempDir(), "c")})
	return proxy
}

// TestRemote opens models of every layout in an object store: fingerprint, tensors and quantized matrices are those of the files.
func TestRemote(t *testing.T) {
	lab := s3lab.Start(t)
	proxy := useStore(t, lab)
	dirs := map[string]string{"pocket": pocket, "original": originalDir(t, tinyParams, tinyOriginal(2, false)),
		"original2": originalDir(t, tinyParams, tinyOriginal(2, true)), "bin": writeModel(t, binFiles(t, 2))}
	for i, k := range pocketKinds {
		name := fmt.Sprintf("quantized-%d", i)
		dirs[name] = t.TempDir()
		quantizedPocket(t, dirs[name], k.layout, k.kind)
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			want, got := mustOpen(t, dir), mustOpen(t, remote(t, lab, dir, name))
			a, err1 := want.Fingerprint()
			b, err2 := got.Fingerprint()
			if err1 != nil || err2 != nil || a != b {
				t.Errorf("fingerprint %q, %v; want %q, %v", b, err2, a, err1)
			}
			if !reflect.DeepEqual(got.Names(), want.Names()) {
				t.Fatalf("tensors %q, want %q", got.Names(), want.Names())
			}
			for _, tensor := range want.Names() {
				a, err1 := want.Tensor(tensor)
				b, err2 := got.Tensor(tensor)
				if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
					t.Errorf("tensor %q differs: %v, %v", tensor, err1, err2)
				}
			}
			for weight := range want.quantized {
				a, err1 := want.Matrix(weight)
				b, err2 := got.Matrix(weight)
				if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
					t.Errorf("matrix %q differs: %v, %v", weight, err1, err2)
				}
			}
			copied, copiedRemote := t.TempDir(), t.TempDir()
			if err := errors.Join(want.CopyAux(copied, nil), got.CopyAux(copiedRemote, nil)); err != nil {
				t.Fatal(err)
			}
			sameFiles(t, copied, copiedRemote)
		})
	}
	if n, _ := proxy.Gets(); n == 0 {
		t.Error("nothing was read of the server")
	}
	_, err := Open("p:s3://models/none/")
	wantError(t, err, `model "p:s3://models/none/"`, "has no objects there")
	lab.Put(t, "models", "half/config.json", []byte(tinyConfig))
	_, err = Open("p:s3://models/half/")
	wantError(t, err, "no model.safetensors", "supported:")
}

func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	list, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		want, err1 := os.ReadFile(filepath.Join(a, f.Name()))
		got, err2 := os.ReadFile(filepath.Join(b, f.Name()))
		if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v, %v", f.Name(), err1, err2)
		}
	}
}

// TestRemoteSamples opens a model of one large tensor: what is fetched is little, and is all that the fingerprint looks at.
func TestRemoteSamples(t *testing.T) {
	lab := s3lab.Start(t)
	proxy := useStore(t, lab)
	config := edit(t, tinyConfig, map[string]any{"vocab_size": 1 << 20})
	var tensors []rawTensor
	c, err := parseConfig(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range c.wants() {
		tensors = append(tensors, rawTensor{name: w.name, dtype: "F16", shape: w.shape, fill: byte(i + 1)})
	}
	dir := writeModel(t, map[string][]byte{"config.json": config, "model.safetensors": safetensorsFile(tensors)})
	local, _ := mustOpen(t, dir).Fingerprint()
	address := remote(t, lab, dir, "large")
	ck := mustOpen(t, address)
	if f, err := ck.Fingerprint(); err != nil || f != local {
		t.Errorf("%q, %v; want %q", f, err, local)
	}
	if n, bytes := proxy.Gets(); bytes > 300<<10 {
		t.Errorf("opening 32 MiB read %d bytes in %d requests", bytes, n)
	}
	v, err := ck.View(ck.Config().EmbedName())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.NeedRows(context.Background(), 1000, 3); err != nil || len(bytes.Trim(v.Rows(nil, 1000, 3), string(v.Rows(nil, 1000, 1)[:1]))) != 0 {
		t.Errorf("rows: %v", err)
	}
	proxy.Fault = func(r *http.Request, n int) s3lab.Fault {
		lab.Remove(t, "models", "large/model.safetensors")
		return s3lab.None
	}
	_, err = ck.Tensor(ck.Config().EmbedName())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "s3://models/large/model.safetensors") {
		t.Error(err)
	}
}
