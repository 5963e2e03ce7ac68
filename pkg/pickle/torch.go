package pickle

import (
	"errors"
	"fmt"
	"math/bits"
)

// global is a name of Python's that the machine knows: "torch._utils._rebuild_tensor_v2".
type global string

const (
	orderedDict      = "collections.OrderedDict"
	rebuildV2        = "torch._utils._rebuild_tensor_v2"
	rebuildV3        = "torch._utils._rebuild_tensor_v3"
	rebuildParameter = "torch._utils._rebuild_parameter"
	untypedStorage   = "torch.storage.UntypedStorage"
)

// dtypeSizes are the bytes of one value of each dtype.
var dtypeSizes = map[string]int{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
	"I64": 8, "U64": 8, "F64": 8,
}

// storageTypes are the dtypes of torch's typed storages, of which a file names the class.
var storageTypes = map[global]string{
	"torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16", "torch.DoubleStorage": "F64",
	"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8", "torch.ByteStorage": "U8",
	"torch.BoolStorage": "BOOL",
}

// dtypeNames are the dtypes that tensors of untyped storages name.
var dtypeNames = map[global]string{
	"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64", "torch.int64": "I64", "torch.int32": "I32",
	"torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8", "torch.bool": "BOOL", "torch.uint16": "U16", "torch.uint32": "U32",
	"torch.uint64": "U64", "torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2",
}

// global pushes a name, if it is one of those that tensors need.
func (m *machine) global(module, name string) error {
	g := global(module + "." + name)
	switch _, isDType := dtypeNames[g]; {
	case isDType, storageTypes[g] != "", g == untypedStorage, g == orderedDict, g == rebuildV2, g == rebuildV3, g == rebuildParameter:
		return m.push(g)
	}
	return fmt.Errorf("%q is refused: only tensors and plain dictionaries of them are read. Nothing was executed; %s", cut(string(g)), saveAgain)
}

// storage is a run of values that tensors are views of.
type storage struct {
	key   string // its name in the file
	dtype string // "": the tensors say
	count int64  // values; bytes where there is no dtype
	bytes int64
}

// persistent makes a storage of the tuple by which torch refers to one: ("storage", type, key, location, number of values). The older format
// adds None, or what the storage is a part of.
func persistent(m *machine) error {
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	id, _ := v[0].(tuple)
	if len(id) != 5 && !(len(id) == 6 && id[5] == nil) {
		return fmt.Errorf("a persistent id is %s: want that of a storage, which has 5 parts", kindOf(v[0]))
	}
	kind, _ := id[0].(string)
	class, _ := id[1].(global)
	key, ok1 := id[2].(string)
	_, ok2 := id[3].(string)
	count, ok3 := id[4].(int64)
	s := &storage{key: key, dtype: storageTypes[class], count: count}
	if kind != "storage" || s.dtype == "" && class != untypedStorage || !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("a persistent id is (%q, %s, %s, %s, %s): want one of a storage", cut(kind), kindOf(id[1]), kindOf(id[2]), kindOf(id[3]), kindOf(id[4]))
	}
	if count < 0 || count > maxCount {
		return fmt.Errorf("storage %q has %d values: larger than any file", cut(key), count)
	}
	s.bytes = count * int64(max(1, dtypeSizes[s.dtype]))
	return m.push(s)
}

// reduce calls one of the functions that make dictionaries and tensors.
func reduce(m *machine) error {
	v, err := m.pop(2)
	if err != nil {
		return err
	}
	f, ok1 := v[0].(global)
	args, ok2 := v[1].(tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("a call of %s with %s: want a function and a tuple", kindOf(v[0]), kindOf(v[1]))
	}
	var made any
	switch {
	case f == orderedDict && len(args) == 0:
		made = &dict{ordered: true}
	case f == rebuildV2 && (len(args) == 6 || len(args) == 7 && args[6] == nil):
		made, err = rebuild(args[:6], "")
	case f == rebuildV3 && (len(args) == 7 || len(args) == 8 && args[7] == nil):
		dtype, _ := args[6].(global)
		if dtypeNames[dtype] == "" {
			return fmt.Errorf("a tensor's dtype is %s, which is not known", kindOf(args[6]))
		}
		made, err = rebuild(args[:6], dtypeNames[dtype])
	case f == rebuildParameter && len(args) == 3:
		t, ok := args[0].(*Tensor)
		if made = t; !ok || !noHooks(args[2]) {
			return errors.New("a parameter is not a tensor without hooks")
		}
	default:
		return fmt.Errorf("a call of %s with %d arguments is not one that makes a tensor", f, len(args))
	}
	if err != nil {
		return err
	}
	return m.push(made)
}

// noHooks tells whether a tensor's backward hooks are none.
func noHooks(v any) bool {
	d, ok := v.(*dict)
	return v == nil || ok && len(d.keys) == 0
}

// rebuild makes a tensor of its storage, its first value there, sizes, strides, whether it is trained, and hooks, of which there must be none.
// dtype "": the storage's.
func rebuild(args tuple, dtype string) (*Tensor, error) {
	s, ok := args[0].(*storage)
	if !ok {
		return nil, fmt.Errorf("a tensor's storage is %s", kindOf(args[0]))
	}
	t := &Tensor{storage: s, DType: s.dtype}
	total := s.count
	if (s.dtype == "") != (dtype != "") {
		return nil, fmt.Errorf("a tensor of storage %q has no dtype, or two", cut(s.key))
	}
	if dtype != "" {
		t.DType, total = dtype, s.count/int64(dtypeSizes[dtype])
	}
	if !noHooks(args[5]) {
		return nil, errors.New("a tensor has backward hooks")
	}
	var err error
	if t.Shape, err = sizes(args[2]); err != nil {
		return nil, fmt.Errorf("a tensor's shape: %w", err)
	}
	if t.Stride, err = sizes(args[3]); err != nil {
		return nil, fmt.Errorf("a tensor's stride: %w", err)
	}
	first, ok := args[1].(int64)
	if !ok || first < 0 || first > maxCount || len(t.Shape) != len(t.Stride) {
		return nil, fmt.Errorf("a tensor at value %v of its storage has shape %v and stride %v: these do not fit", args[1], t.Shape, t.Stride)
	}
	t.first = first
	return t, t.within(total)
}

// sizes reads a tuple of sizes or strides.
func sizes(v any) ([]int, error) {
	list, ok := v.(tuple)
	if !ok || len(list) > maxDims {
		return nil, fmt.Errorf("is %s: want a tuple of at most %d sizes", kindOf(v), maxDims)
	}
	out := make([]int, len(list))
	for i, v := range list {
		n, ok := v.(int64)
		if !ok || n < 0 || n > maxCount {
			return nil, fmt.Errorf("has %v, want whole numbers from 0 to %d", v, int64(maxCount))
		}
		out[i] = int(n)
	}
	return out, nil
}

// within refuses a tensor that reaches beyond the values of its storage, or that has more values than any file.
func (t *Tensor) within(total int64) error {
	values, last, empty := uint64(1), uint64(t.first), false
	for i, n := range t.Shape {
		if n == 0 {
			empty = true
			continue
		}
		over, reach := bits.Mul64(uint64(n-1), uint64(t.Stride[i]))
		if last += reach; over != 0 || reach > maxCount || last > maxCount {
			return t.outside(total)
		}
		if over, values = bits.Mul64(values, uint64(n)); over != 0 || values > maxCount {
			return t.outside(total)
		}
	}
	if empty && t.first <= total || !empty && last < uint64(total) {
		return nil
	}
	return t.outside(total)
}

func (t *Tensor) outside(total int64) error {
	return fmt.Errorf("a tensor of shape %v and stride %v at value %d reaches beyond its storage %q, which has %d values", t.Shape, t.Stride,
		t.first, cut(t.storage.key), total)
}

// build gives an object its state. Only a module's state_dict has one: the versions of its layers, which no reader needs.
func build(m *machine) error {
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	on, err := m.last()
	if err != nil {
		return err
	}
	d, ok1 := on.(*dict)
	state, ok2 := v[0].(*dict)
	if !ok1 || !d.ordered || !ok2 {
		return fmt.Errorf("setting the state of %s by %s is refused: a dictionary of tensors does not need it. Nothing was executed; %s",
			kindOf(on), kindOf(v[0]), saveAgain)
	}
	for _, key := range state.keys {
		if key != "_metadata" {
			return fmt.Errorf("setting the attribute %q of a dictionary is refused. Nothing was executed; %s", cut(fmt.Sprint(key)), saveAgain)
		}
	}
	return nil
}
