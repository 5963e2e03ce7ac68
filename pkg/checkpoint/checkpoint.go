package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sextant/pkg/objstore"
	"sextant/pkg/qformat"
)

// supported is what every "not this kind of model" error ends in.
const supported = "supported: a directory, or s3://BUCKET/KEY/, with config.json and model.safetensors or pytorch_model.bin, or shards of either with their " +
	"index.json; or Meta's params.json and consolidated.00.pth, consolidated.01.pth and so on"

// Checkpoint is an open model directory. Its weights are mapped: they are read from disk when touched, and the files must not be
// changed or truncated while it is open. Those in an object store are fetched when they are needed: by Tensor, Keep and Matrix, and by Need, which
// comes before all else that touches them. All methods may be called by several goroutines at once; Close by one, last.
type Checkpoint struct {
	dir         string        // as it was opened
	fsys        fs.FS         // it
	remote      *objstore.Dir // nil: it is a directory of this machine
	all         atomic.Bool   // of remote: all is being fetched
	config      *Config
	raw         []byte // config.json, or what Meta's params.json says as one
	description []byte // it in canonical form
	source      string // "config.json" or "params.json", for messages
	tensors     map[string]Tensor
	merged      map[string]*merged         // those of them that do not lie in one piece; they have no Data in tensors
	unfit       map[string]string          // why a tensor of a file cannot be used; it is in no other map
	quantized   map[string]*qformat.Matrix // by the weight's name: sizes, without codes
	files       []*mapping
	fingerprint func() string // made when it is first asked for

	keeping sync.Mutex        // guards kept
	kept    map[string][]byte // of merged tensors: what Keep made
}

// Tensor is a tensor as it lies in its file: row-major, little-endian, in the mapped memory (valid until Close, never written); or, where it does
// not lie in one piece, as the architecture has it, in memory of its own.
type Tensor struct {
	Name  string
	DType string // "F32", "F16", "BF16"; others exist in files, but only in tensors that Matrix reads or no architecture needs
	Shape []int
	Data  []byte
}

// Original says that the model lies as Meta publishes Llama: params.json beside consolidated.NN.pth, the rows of query and key in the order of
// interleaved rotary pairs. They are given in transformers' names and order all the same.
func (c *Checkpoint) Original() bool { return c.source == paramsFile }

// Open opens the model in dir, a path or an address of an object store (package objstore): it parses config.json, or Meta's params.json, maps
// the weight files and checks their tables, file sizes, and every tensor the architecture needs with its shape and dtype. Weights are not read. Files are taken in the order of transformers:
// model.safetensors, its shards, pytorch_model.bin, its shards; consolidated.NN.pth where there are none of these.
func Open(dir string) (*Checkpoint, error) {
	c := &Checkpoint{dir: dir, source: "config.json", tensors: map[string]Tensor{}, merged: map[string]*merged{}, unfit: map[string]string{},
		quantized: map[string]*qformat.Matrix{}}
	c.fingerprint = sync.OnceValue(c.digest)
	if err := c.open(); err != nil {
		c.Close()
		return nil, fmt.Errorf("model %q: %w", dir, err)
	}
	return c, nil
}

func (c *Checkpoint) open() error {
	if err := c.list(); err != nil {
		return err
	}
	if isOriginal(c.fsys) {
		return c.openOriginal()
	}
	if err := c.readConfig(); err != nil {
		return err
	}
	shards, err := findShards(c.fsys)
	if err != nil {
		return err
	}
	for _, s := range shards {
		if err := c.load(s); err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
	}
	if err := c.fetchSamples(); err != nil {
		return err
	}
	return c.check()
}

// list opens the directory.
func (c *Checkpoint) list() (err error) {
	if objstore.IsAddress(c.dir) {
		c.remote, err = objstore.Default().Open(context.Background(), c.dir)
		c.fsys = c.remote
		return err
	}
	info, err := os.Stat(c.dir)
	if err == nil && !info.IsDir() {
		err = errors.New("is a file; " + supported)
	}
	c.fsys = os.DirFS(c.dir)
	return err
}

func (c *Checkpoint) readConfig() error {
	data, err := fs.ReadFile(c.fsys, "config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no config.json%s; %s", foundInstead(c.fsys), supported)
	} else if err != nil {
		return err
	}
	if data, err = withQuantFile(c.fsys, data); err != nil {
		return err
	}
	return c.describe(data)
}

// describe takes a config.json.
func (c *Checkpoint) describe(data []byte) error {
	generation, err := fs.ReadFile(c.fsys, "generation_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.config, err = parseConfig(data, generation); err != nil {
		return err
	}
	c.raw = data
	c.description, err = canonical(data)
	return err
}

// load maps one file and takes the tensors that s wants of it.
func (c *Checkpoint) load(s shard) error {
	m, err := c.mapFile(s.file)
	if err != nil {
		return err
	}
	table := make(map[string]entry, len(m.entries))
	for _, e := range m.entries {
		table[e.name] = e
		if s.tensors == nil {
			c.add(m, e)
		}
	}
	for _, name := range s.tensors {
		e, ok := table[name]
		if !ok {
			return fmt.Errorf("no tensor %q, which %s says is here", name, s.index)
		}
		c.add(m, e)
	}
	return nil
}

func (c *Checkpoint) add(m *mapping, e entry) {
	if e.unfit != "" {
		c.unfit[e.name] = e.unfit
		return
	}
	c.tensors[e.name] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Data: m.of(e)}
}

// shownErrors is how many tensor errors are spelt out; one wrong config.json makes hundreds.
const shownErrors = 10

// check compares the tensors found with those the architecture needs.
func (c *Checkpoint) check() error {
	var faults []string
	for _, w := range c.config.wants() {
		if quantized, err := c.lookQuantized(w); err != nil {
			faults = append(faults, err.Error())
			continue
		} else if quantized {
			continue
		}
		t, ok := c.tensors[w.name]
		switch {
		case c.unfit[w.name] != "":
			faults = append(faults, fmt.Sprintf("tensor %q %s", w.name, c.unfit[w.name]))
		case !ok:
			faults = append(faults, fmt.Sprintf("tensor %q %v is missing", w.name, w.shape))
		case !slices.Equal(t.Shape, w.shape):
			faults = append(faults, fmt.Sprintf("tensor %q has shape %v, expected %v", w.name, t.Shape, w.shape))
		case t.DType != "F32" && t.DType != "F16" && t.DType != "BF16":
			faults = append(faults, fmt.Sprintf("tensor %q has dtype %s, which is not supported; supported: F32, F16, BF16", w.name, t.DType))
		}
	}
	if err := c.misfit(append(faults, c.cacheFaults()...)); err != nil {
		return err
	}
	return c.checkTied()
}

// misfit makes an error of faults of tensors; nil: there are none.
func (c *Checkpoint) misfit(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	more := ""
	if n := len(faults) - shownErrors; n > 0 {
		faults, more = faults[:shownErrors], fmt.Sprintf("\n  and %d more", n)
	}
	return fmt.Errorf("the weights do not fit %s (%s):\n  %s%s", c.source, c.config.Family, strings.Join(faults, "\n  "), more)
}

// checkTied refuses a model that says its output matrix is the embedding and yet brings another one: transformers 4 would use the
// embedding and 5 the other. Only samples are compared.
func (c *Checkpoint) checkTied() error {
	if !c.config.TieEmbeddings {
		return nil
	}
	embed := c.tensors[c.config.EmbedName()]
	head, ok := c.tensors[c.config.family().head]
	if !ok || head.DType == embed.DType && slices.Equal(head.Shape, embed.Shape) && slices.Equal(c.samples(head), c.samples(embed)) {
		return nil
	}
	return fmt.Errorf("config.json says tie_word_embeddings = true, but %q differs from %q; set it to false, or remove the tensor",
		head.Name, embed.Name)
}

// Config returns the architecture. It is shared: do not change it.
func (c *Checkpoint) Config() *Config { return c.config }

// Dir is the directory, or the address, that was opened.
func (c *Checkpoint) Dir() string { return c.dir }

// Names returns the names of all tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Sorted(maps.Keys(c.tensors)) }

// Tensor returns a tensor by its name in the architecture. One that does not lie in one piece is copied at each call: see View.
func (c *Checkpoint) Tensor(name string) (Tensor, error) {
	v, err := c.View(name)
	if err == nil {
		err = v.Need(context.Background())
	}
	if err == nil && v.merged != nil {
		v.Data = v.Rows(nil, 0, v.merged.rows)
	}
	return v.Tensor, err
}

// Release says that data, all or part of a Tensor's, will not be read again soon: its pages no longer count as this process's memory. They
// stay in the system's cache as long as there is room, and reading them again is as before. Other memory is left alone.
func (c *Checkpoint) Release(data []byte) { c.advise(data, unix.MADV_DONTNEED) }

// Expect says that data will be read soon: what is not in memory is brought from the disk meanwhile, or from the object store.
func (c *Checkpoint) Expect(data []byte) {
	_ = c.Fetch(data) // what has no room is told where it is needed
	c.advise(data, unix.MADV_WILLNEED)
}

func (c *Checkpoint) advise(data []byte, advice int) {
	for _, m := range c.files {
		m.advise(data, advice)
	}
}

// Close unmaps the weights: no Tensor may be touched after it.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, m := range c.files {
		errs = append(errs, m.close())
	}
	for _, data := range c.kept {
		errs = append(errs, unix.Munmap(data))
	}
	if c.remote != nil {
		errs = append(errs, c.remote.Close())
	}
	c.files, c.kept, c.remote = nil, nil, nil
	return errors.Join(errs...)
}
