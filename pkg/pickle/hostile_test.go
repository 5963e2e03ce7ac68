package pickle

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sextant/pkg/pickle/pickletest"
)

// archive is a file whose dictionary is this pickle, with a storage "0" of 16 bytes.
func archive(pickle string) []byte {
	return pickletest.Zip([]pickletest.Entry{{Name: "a/data.pkl", Data: []byte(pickle)}, {Name: "a/data/0", Data: make([]byte, 16)}})
}

// tensor is a pickle of one tensor: key, number of values of its storage (F32), first value, shape and stride.
func tensor(key string, count, first int, shape, stride []int) string {
	p := pickletest.Text([]byte("\x80\x02}"), "w")
	p = append(p, "ctorch._utils\n_rebuild_tensor_v2\n(("...)
	p = append(pickletest.Text(p, "storage"), "ctorch\nFloatStorage\n"...)
	p = append(pickletest.Int(pickletest.Text(pickletest.Text(p, key), "cpu"), count), 't', 'Q')
	p = pickletest.Int(p, first)
	for _, list := range [][]int{shape, stride} {
		p = append(p, '(')
		for _, n := range list {
			p = pickletest.Int(p, n)
		}
		p = append(p, 't')
	}
	return string(append(p, "\x89}tRs."...))
}

const huge = 1 << 62

// hostile are pickles that would do harm elsewhere, with what is said of them.
var hostile = map[string]struct{ pickle, want string }{
	"REDUCE os.system":          {"\x80\x02cos\nsystem\nX\x05\x00\x00\x00touch\x85R.", `"os.system" is refused`},
	"REDUCE posix.system":       {"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x05touch\x85R.", `"posix.system" is refused`},
	"GLOBAL builtins.eval":      {"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", `"builtins.eval" is refused`},
	"GLOBAL with a dotted name": {"\x80\x04\x8c\x05torch\x8c\x0a_utils.sys\x93.", `"torch._utils.sys" is refused`},
	"GLOBAL torch.load":         {"\x80\x02ctorch\nload\nX\x01\x00\x00\x00f\x85R.", `"torch.load" is refused`},
	"GLOBAL without an end":     {"\x80\x02c" + strings.Repeat("a", 5000), "does not end within 1024 bytes"},
	"INST":                      {"(S'touch'\nios\nsystem\n.", "instruction STRING is refused"},
	"INST alone":                {"\x80\x02(ios\nsystem\n.", "instruction INST (make an object of any class) is refused"},
	"OBJ":                       {"\x80\x02(ccollections\nOrderedDict\no.", "instruction OBJ"},
	"NEWOBJ":                    {"\x80\x02ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"},
	"NEWOBJ_EX":                 {"\x80\x04ccollections\nOrderedDict\n)}\x92.", "instruction NEWOBJ_EX"},
	"EXT1":                      {"\x80\x02\x82\x01.", "instruction EXT1"},
	"EXT2":                      {"\x80\x02\x83\x01\x00.", "instruction EXT2"},
	"EXT4":                      {"\x80\x02\x84\x01\x00\x00\x00.", "instruction EXT4"},
	"PERSID":                    {"\x80\x02P../../etc/passwd\n.", "instruction PERSID"},
	"BUILD __setstate__":        {"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__X\x01\x00\x00\x00xsb.", `attribute "__setstate__"`},
	"BUILD of a global":         {"\x80\x02ccollections\nOrderedDict\n}b.", "setting the state of collections.OrderedDict by a dict is refused"},
	"BUILD of a plain dict":     {"\x80\x02}}b.", "setting the state of a dict"},
	"REDUCE of a storage type":  {"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", "a call of torch.FloatStorage with 1 arguments"},
	"REDUCE of OrderedDict":     {"\x80\x02ccollections\nOrderedDict\n](K\x01e\x85R.", "a call of collections.OrderedDict with 1 arguments"},
	"REDUCE of no function":     {"\x80\x02]\x29R.", "a call of a list"},
	"hooks":                     {strings.Replace(tensor("0", 4, 0, []int{4}, []int{1}), "\x89}tRs.", "\x89}K\x01K\x02stRs.", 1), "backward hooks"},
	"id is a string":            {"\x80\x02X\x10\x00\x00\x00../../etc/passwdQ.", "a persistent id is a string"},
	"id of a module":            {"\x80\x02(X\x06\x00\x00\x00moduleNNNNtQ.", `a persistent id is ("module"`},
	"id of a function":          {"\x80\x02(X\x07\x00\x00\x00storageccollections\nOrderedDict\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.", "want one of a storage"},
	"id with a path":            {tensor("../../../etc/passwd", 4, 0, []int{4}, []int{1}), `storage "../../../etc/passwd" is not in the file`},
	"id of the pickle":          {tensor("../data.pkl", 4, 0, []int{4}, []int{1}), "is not in the file"},
	"storage of another size":   {tensor("0", 5, 0, []int{4}, []int{1}), "holds 16 bytes, expected 20"},
	"storage beyond any file":   {tensor("0", huge, 0, []int{4}, []int{1}), "larger than any file"},
	"negative storage":          {tensor("0", -4, 0, []int{4}, []int{1}), "larger than any file"},
	"tensor beyond its storage": {tensor("0", 4, 1, []int{4}, []int{1}), "reaches beyond its storage"},
	"negative offset":           {tensor("0", 4, -1, []int{4}, []int{1}), "do not fit"},
	"negative size":             {tensor("0", 4, 0, []int{-4}, []int{1}), "want whole numbers"},
	"negative stride":           {tensor("0", 4, 3, []int{4}, []int{-1}), "want whole numbers"},
	"sizes that overflow":       {tensor("0", 4, 0, []int{1 << 40, 1 << 40}, []int{0, 0}), "reaches beyond its storage"},
	"reach that overflows":      {tensor("0", 4, 0, []int{1 << 45, 1 << 45}, []int{1 << 45, 1 << 45}), "reaches beyond its storage"},
	"one value many times":      {tensor("0", 4, 0, []int{1 << 45, 4}, []int{0, 1}), "reaches beyond its storage"},
	"too many dimensions":       {tensor("0", 4, 0, make([]int, 9), make([]int, 9)), "at most 8 sizes"},
	"int of 255 bytes":          {"\x80\x02\x8a\xff" + strings.Repeat("\x01", 255) + ".", "larger than any size"},
	"string of 4 GiB":           {"\x80\x02X\xff\xff\xff\xffab.", "ends too early"},
	"string of 2^64 bytes":      {"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.", "ends too early"},
	"memo far away":             {"\x80\x02}r\xff\xff\xff\x7f.", "want one after another"},
	"memo of nothing":           {"\x80\x02h\x05.", "recalls value 5 of 0"},
	"stack is empty":            {"\x80\x02R.", "the stack is empty"},
	"pops a mark":               {"\x80\x02K\x01(\x86.", "the stack is empty"},
	"no mark":                   {"\x80\x02t.", "no mark"},
	"key is a list":             {"\x80\x02}]K\x01s.", "a key of a dict is a list"},
	"key twice":                 {"\x80\x02}(K\x01K\x01K\x01K\x02u.", `the key "1" twice`},
	"a list within itself":      {"\x80\x02]q\x00h\x00a.", "holds a list"},
	"protocol 0":                {"\x80\x00}.", "protocol 0"},
	"no end":                    {"\x80\x02}", "ends too early"},
}

// TestHostile holds that pickles that would do harm are refused, and that there is nothing new in the directory.
func TestHostile(t *testing.T) {
	before := names(t)
	for name, h := range hostile {
		_, err := read(archive(h.pickle))
		wantError(t, name, err, h.want)
		_, err = read([]byte(legacyMagic + "\x80\x02M\xe9\x03." + "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s." + h.pickle))
		if err == nil {
			t.Errorf("%s: was read in the older format", name)
		}
	}
	if after := names(t); after != before {
		t.Errorf("the directory was %s and is %s", before, after)
	}
}

func names(t *testing.T) (all string) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all += e.Name() + " "
	}
	return all
}

// TestBombs holds that files made to cost much cost little.
func TestBombs(t *testing.T) {
	doubling := "\x80\x02]q\x00" // each list holds the one before twice: 2^n values, were they copied
	for range 30000 {
		doubling += "q\x00](h\x00h\x00e"
	}
	p := pickletest.Int([]byte("\x80\x02}("), 1<<20)
	p = append(p, '(')
	for range 1 << 20 {
		p = append(p, 'K', 1)
	}
	p = append(p, 't', 'q', 0) // a tuple of a million, as the shape of many tensors
	for range 100000 {
		p = append(p, 'h', 0)
	}
	for name, pickle := range map[string]string{
		"doubling":     doubling + ".",
		"deep lists":   "\x80\x02" + strings.Repeat("]", 1<<20) + strings.Repeat("a", 1<<20-1) + ".",
		"deep tuples":  "\x80\x02N" + strings.Repeat("\x85", 1<<20) + ".",
		"marks":        "\x80\x02" + strings.Repeat("(", maxSteps+1) + ".",
		"memo":         "\x80\x04N" + strings.Repeat("\x94", maxSteps) + ".",
		"long":         "\x80\x02" + strings.Repeat("K\x01", maxSteps) + ".",
		"shared sizes": string(p) + "u.",
		"larger":       strings.Repeat(" ", maxPickle+1),
	} {
		var a, b runtime.MemStats
		file := archive(pickle)
		runtime.ReadMemStats(&a)
		began := time.Now()
		_, err := read(file)
		took := time.Since(began)
		runtime.ReadMemStats(&b)
		t.Logf("%s: %d bytes, %v, %d MiB: %.100v", name, len(file), took, (b.TotalAlloc-a.TotalAlloc)>>20, err)
		if err == nil || b.TotalAlloc-a.TotalAlloc > 1<<30 || took > 30*time.Second {
			t.Errorf("%s: %v, %d bytes allocated, %v", name, took, b.TotalAlloc-a.TotalAlloc, err)
		}
	}
}

// TestHostileZip changes the tables of an archive.
func TestHostileZip(t *testing.T) {
	good := pickletest.File([]pickletest.Tensor{{Name: "w", DType: "F32", Shape: []int{4}, Data: make([]byte, 16)},
		{Name: "v", DType: "F32", Shape: []int{4}, Data: make([]byte, 16)}})
	central := func(name string) int { // where an entry begins in the central directory
		return bytes.LastIndex(good, []byte(name)) - 46
	}
	for name, c := range map[string]struct {
		change func(f []byte)
		want   string
	}{
		"overlap": {func(f []byte) { copy(f[central("archive/data/1")+42:][:4], f[central("archive/data/0")+42:][:4]) }, "overlap"},
		"larger": {func(f []byte) {
			for _, at := range []int{20, 24} {
				binary.LittleEndian.PutUint32(f[central("archive/data/1")+at:], 1<<30)
			}
		}, "reach beyond the file"},
		"sizes differ":     {func(f []byte) { binary.LittleEndian.PutUint32(f[central("archive/data/1")+20:], 8) }, "is compressed"},
		"deflated":         {func(f []byte) { f[central("archive/data/1")+10] = 8 }, "is compressed"},
		"encrypted":        {func(f []byte) { f[central("archive/data/1")+8] |= 1 }, "is encrypted"},
		"header elsewhere": {func(f []byte) { binary.LittleEndian.PutUint32(f[central("archive/data/1")+42:], 1<<30) }, "zip"},
		"entries":          {func(f []byte) { copy(f[len(f)-14:], "\xff\xfe\xff\xfe") }, "none"},
		"directory":        {func(f []byte) { binary.LittleEndian.PutUint32(f[len(f)-10:], 1<<31) }, "none"},
	} {
		file := bytes.Clone(good)
		c.change(file)
		_, err := read(file)
		wantError(t, name, err, c.want)
	}
	for _, bad := range []string{"../data/0", "/etc/passwd", "archive/../../x", "archive//x", `archive\..\x`, "archive/", ""} {
		_, err := read(pickletest.Zip([]pickletest.Entry{{Name: "archive/data.pkl", Data: []byte("\x80\x02}.")}, {Name: bad}}))
		wantError(t, bad, err, "not a name that torch.save gives")
	}
	_, err := read(pickletest.Zip([]pickletest.Entry{{Name: "a/data.pkl"}, {Name: "a/x", Data: []byte("1")}, {Name: "a/x", Data: []byte("2")}}))
	wantError(t, "twice", err, "is there twice")
	zip64 := pickletest.Zip([]pickletest.Entry{{Name: "a/data.pkl", Data: []byte("\x80\x02}.")}})
	at := bytes.LastIndex(zip64, []byte("a/data.pkl")) - 46
	for _, n := range []int{20, 24} {
		copy(zip64[at+n:], "\xff\xff\xff\xff") // sizes that a zip64 field would tell, which is not there
	}
	_, err = read(zip64)
	wantError(t, "zip64", err, "none")
}

// TestManyEntries holds that the tables of an archive are read within a limit.
func TestManyEntries(t *testing.T) {
	var entry bytes.Buffer
	entry.WriteString("PK\x01\x02")
	entry.Write(make([]byte, 24))
	binary.Write(&entry, binary.LittleEndian, []uint16{1, 0, 0, 0, 0})
	entry.Write(make([]byte, 8))
	entry.WriteByte('x')
	const n = 1 << 20
	file := append([]byte("PK"), bytes.Repeat(entry.Bytes(), n)...)
	size := n * entry.Len()
	file = append(file, "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff"...)
	file = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(file, uint32(size)), 2)
	file = append(file, 0, 0)
	_, err := read(file)
	wantError(t, "many", err, "tables are larger than")
}

func FuzzUnpickle(f *testing.F) {
	for _, h := range hostile {
		f.Add([]byte(h.pickle))
	}
	f.Add(pickletest.Pickle([]pickletest.Tensor{{Name: "w", DType: "F32", Shape: []int{2, 2}, Data: make([]byte, 16)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		checkFound(t, archive(string(data)))
	})
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"zip.pth", "legacy.pth", "protocol4.pth", "module.bin", "object.pth"} {
		f.Add(golden(f, name))
	}
	f.Fuzz(checkFound)
}

// checkFound holds that what is found in a file lies in it.
func checkFound(t *testing.T, file []byte) {
	all, err := read(file)
	if err != nil {
		return
	}
	for _, g := range all {
		bytes := int64(dtypeSizes[g.DType])
		for _, n := range g.Shape {
			bytes *= int64(n)
		}
		if g.Contiguous() && (g.Offset < 0 || g.Bytes != bytes || g.Offset+g.Bytes > int64(len(file))) {
			t.Errorf("%+v does not lie within %d bytes", g, len(file))
		}
	}
}
