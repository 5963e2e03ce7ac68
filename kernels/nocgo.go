//go:build !cgo

package kernels

// errNoCgo is what every call answers in a binary built without cgo.
var errNoCgo = &Error{Op: "open", Text: "this binary was built without cgo and has no kernels: build it with CGO_ENABLED=1 and a C compiler",
	Kind: ErrUnsupported}

// The types of device.go and objects.go, without a device behind them.
type (
	Device struct{}
	Stream struct{}
	Buffer struct{}
	Weight struct{}
	KV     struct{}
	Batch  struct{}
	Graph  struct{}
)

// LaidOut and ABI are 0: there is no backend.
const (
	LaidOut = 0
	ABI     = 0
)

// Found is what a backend answered when one of its devices was opened.
type Found struct {
	Backend string
	Device  int
	Info    Info
	Err     error
}

func Backends() []string                    { return nil }
func CUDALibrary() (string, error)          { return "", errNoCgo }
func Probe(b string, o Options) Found       { return Found{Backend: b, Device: o.Device, Err: errNoCgo} }
func Open(string, Options) (*Device, error) { return nil, errNoCgo }
func CPUPeak(int, int64) (Peak, error)      { return Peak{}, errNoCgo }

func (*Device) Close()                                    {}
func (*Device) Info() (Info, error)                       { return Info{}, errNoCgo }
func (*Device) NewStream() (*Stream, error)               { return nil, errNoCgo }
func (*Device) NewBuffer(int64) (*Buffer, error)          { return nil, errNoCgo }
func (*Device) NewTensor(int, int, DType) (Tensor, error) { return Tensor{}, errNoCgo }
func (*Device) NewWeight(WeightDesc) (*Weight, error)     { return nil, errNoCgo }
func (*Device) PackSize(WeightDesc) (int64, error)        { return 0, errNoCgo }
func (*Device) Pack(WeightDesc, []byte) error             { return errNoCgo }
func (*Device) NewKV(KVDesc) (*KV, error)                 { return nil, errNoCgo }

func (*Stream) Free()                     {}
func (*Buffer) Free()                     {}
func (*Buffer) Bytes() int64              { return 0 }
func (*Weight) Free()                     {}
func (*Weight) Put(int, WeightDesc) error { return errNoCgo }
func (*Weight) Shape() (rows, cols int)   { return 0, 0 }
func (*KV) Free()                         {}
func (*Batch) Free()                      {}
func (*Graph) Free()                      {}
func (*Graph) Run() error                 { return errNoCgo }

func (*Stream) Sync() error                                                    { return errNoCgo }
func (*Stream) UploadF32(Tensor, []float32) error                              { return errNoCgo }
func (*Stream) DownloadF32(Tensor, []float32) error                            { return errNoCgo }
func (*Stream) Copy(dst, src Tensor) error                                     { return errNoCgo }
func (*Stream) NewBatch(BatchDesc) (*Batch, error)                             { return nil, errNoCgo }
func (*Stream) SetBatch(*Batch, BatchDesc) error                               { return errNoCgo }
func (*Stream) Record(func() error) (*Graph, error)                            { return nil, errNoCgo }
func (*Stream) EmbedBatch(Tensor, *Weight, *Batch) error                       { return errNoCgo }
func (*Stream) ColStats(max, sum, square, x Tensor) error                      { return errNoCgo }
func (*Stream) Hessian(h, x Tensor) error                                      { return errNoCgo }
func (*Stream) Round(out, x Tensor, r Rounding) error                          { return errNoCgo }
func (*Stream) Embed(Tensor, *Weight, []int32) error                           { return errNoCgo }
func (*Stream) Gather(out, x Tensor, rows []int32) error                       { return errNoCgo }
func (*Stream) MatMul(out, x Tensor, w, bias *Weight) error                    { return errNoCgo }
func (*Stream) RMSNorm(out, x Tensor, add *Tensor, w *Weight, e float32) error { return errNoCgo }
func (*Stream) Add(x, add Tensor) error                                        { return errNoCgo }
func (*Stream) SwiGLU(out, gate, up Tensor) error                              { return errNoCgo }
func (*Stream) RopeKV(RopeArgs) error                                          { return errNoCgo }
func (*Stream) Attention(AttentionArgs) error                                  { return errNoCgo }
func (*Stream) KVCopy(kv *KV, dst, src, positions int) error                   { return errNoCgo }
func (*Stream) LogProb(Tensor, *Weight, Targets) (LogProbs, error)             { return LogProbs{}, errNoCgo }
func (*Stream) Sample(Tensor, []SampleDesc, []float64) ([]int32, error)        { return nil, errNoCgo }
