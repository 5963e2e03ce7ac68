package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// machine carries out a pickle as far as tensors need it (the instructions are those of Python's pickletools). Containers are referred to, not
// copied, so that no instruction costs more than the bytes that it and those before it took.
type machine struct {
	in    []byte
	at    int // the next byte
	stack []any
	marks []int // where the stack stood at each MARK
	memo  []any
}

// run carries out the pickle that in begins with and returns what it made, and the bytes that it took.
func run(in []byte) (top any, n int, err error) {
	m := &machine{in: in}
	for range maxSteps {
		at := m.at
		op, err := m.bytes(1)
		if err != nil {
			return nil, 0, err
		}
		if op[0] == '.' { // STOP
			if len(m.stack) != 1 || len(m.marks) != 0 {
				return nil, 0, fmt.Errorf("pickle, byte %d: it ends with %d values, want one", at, len(m.stack))
			}
			return m.stack[0], m.at, nil
		}
		do := instructions[op[0]]
		if do == nil {
			return nil, 0, refusedInstruction(op[0], at)
		}
		if err := do(m); err != nil {
			return nil, 0, fmt.Errorf("pickle, byte %d: %w", at, err)
		}
	}
	return nil, 0, fmt.Errorf("the pickle has more than %d instructions, which no dictionary of tensors needs", maxSteps)
}

var errShort = errors.New("the pickle ends too early: the file is truncated or was changed")

func (m *machine) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(m.in)-m.at) {
		return nil, errShort
	}
	b := m.in[m.at : m.at+int(n) : m.at+int(n)]
	m.at += int(n)
	return b, nil
}

// number reads an unsigned little-endian number of 1, 2, 4 or 8 bytes.
func (m *machine) number(size uint64) (uint64, error) {
	b, err := m.bytes(size)
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), err
}

// counted reads as many bytes as a number of size bytes before them says.
func (m *machine) counted(size uint64) ([]byte, error) {
	n, err := m.number(size)
	if err != nil {
		return nil, err
	}
	return m.bytes(n)
}

// line reads up to a newline, which is not part of it.
func (m *machine) line() (string, error) {
	rest := m.in[m.at:]
	for i, c := range rest[:min(len(rest), 1024)] {
		if c == '\n' {
			m.at += i + 1
			return string(rest[:i]), nil
		}
	}
	return "", errors.New("a name does not end within 1024 bytes")
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

// floor is how far the stack may be popped: to the last MARK.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// pop takes n values off the stack, in the order in which they were pushed. They are valid until the next push.
func (m *machine) pop(n int) ([]any, error) {
	if len(m.stack)-n < m.floor() {
		return nil, errors.New("the stack is empty")
	}
	v := m.stack[len(m.stack)-n:]
	m.stack = m.stack[:len(m.stack)-n]
	return v, nil
}

// popMarked takes what was pushed after the last MARK.
func (m *machine) popMarked() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("there is no mark on the stack")
	}
	v := m.stack[m.floor():]
	m.stack, m.marks = m.stack[:m.floor()], m.marks[:len(m.marks)-1]
	return v, nil
}

// last is the value that the next pop would take.
func (m *machine) last() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, errors.New("the stack is empty")
	}
	return m.stack[len(m.stack)-1], nil
}

// instructions are those that are carried out. STOP is, too.
var instructions [256]func(m *machine) error

func init() {
	set := func(op byte, do func(m *machine) error) { instructions[op] = do }
	set(0x80, protocol)
	set(0x95, func(m *machine) error { _, err := m.number(8); return err }) // FRAME: what follows is read as it comes
	set('(', func(m *machine) error { m.marks = append(m.marks, len(m.stack)); return nil })
	for op, v := range map[byte]any{'N': nil, 0x88: true, 0x89: false} {
		set(op, func(m *machine) error { return m.push(v) })
	}
	for op, size := range map[byte]uint64{'K': 1, 'M': 2} { // BININT1, BININT2
		set(op, func(m *machine) error { n, err := m.number(size); return errors.Join(err, m.push(int64(n))) })
	}
	set('J', func(m *machine) error { n, err := m.number(4); return errors.Join(err, m.push(int64(int32(n)))) })
	set(0x8a, long)
	set('G', float)
	for op, size := range map[byte]uint64{'X': 4, 0x8c: 1, 0x8d: 8, 'T': 4, 'U': 1} { // BINUNICODE and Python 2's BINSTRING, with their kin
		set(op, func(m *machine) error { return text(m, size) })
	}
	for op, size := range map[byte]uint64{'B': 4, 'C': 1} {
		set(op, func(m *machine) error { b, err := m.counted(size); return errors.Join(err, m.push(b)) })
	}
	set(']', func(m *machine) error { return m.push(&list{}) })
	set('}', func(m *machine) error { return m.push(&dict{}) })
	for op, n := range map[byte]int{')': 0, 0x85: 1, 0x86: 2, 0x87: 3} {
		set(op, func(m *machine) error {
			v, err := m.pop(n)
			return errors.Join(err, m.push(tuple(append([]any{}, v...))))
		})
	}
	set('t', func(m *machine) error {
		v, err := m.popMarked()
		return errors.Join(err, m.push(tuple(append([]any{}, v...))))
	})
	set('a', func(m *machine) error { v, err := m.pop(1); return m.extend(v, err) })
	set('e', func(m *machine) error { v, err := m.popMarked(); return m.extend(v, err) })
	set('s', func(m *machine) error { v, err := m.pop(2); return m.fill(v, err) })
	set('u', func(m *machine) error { v, err := m.popMarked(); return m.fill(v, err) })
	for op, size := range map[byte]uint64{'q': 1, 'r': 4} { // BINPUT
		set(op, func(m *machine) error { return remember(m, size) })
	}
	set(0x94, func(m *machine) error { return m.put(uint64(len(m.memo))) })
	for op, size := range map[byte]uint64{'h': 1, 'j': 4} { // BINGET
		set(op, func(m *machine) error { return recall(m, size) })
	}
	set('c', nameByLines)
	set(0x93, nameByStack)
	set('R', reduce)
	set('b', build)
	set('Q', persistent)
}

func protocol(m *machine) error {
	n, err := m.number(1)
	if err == nil && (n < 2 || n > 5) {
		err = fmt.Errorf("protocol %d is not known; known: 2 to 5", n)
	}
	return err
}

// long reads an int of up to 8 bytes.
func long(m *machine) error {
	b, err := m.counted(1)
	if err != nil || len(b) > 8 {
		return errors.Join(err, fmt.Errorf("an int of %d bytes is larger than any size", len(b)))
	}
	var wide [8]byte
	if len(b) > 0 && b[len(b)-1] >= 0x80 {
		wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(wide[:], b)
	return m.push(int64(binary.LittleEndian.Uint64(wide[:])))
}

func float(m *machine) error {
	b, err := m.bytes(8)
	if err != nil {
		return err
	}
	return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
}

func text(m *machine, size uint64) error {
	b, err := m.counted(size)
	if err == nil && !utf8.Valid(b) {
		err = fmt.Errorf("a string is not UTF-8: %q", cut(string(b)))
	}
	return errors.Join(err, m.push(string(b)))
}

// extend adds values to the list that lies before them.
func (m *machine) extend(v []any, err error) error {
	if err != nil {
		return err
	}
	on, err := m.last()
	if err != nil {
		return err
	}
	l, ok := on.(*list)
	if !ok {
		return fmt.Errorf("appending to %s: want a list", kindOf(on))
	}
	l.items = append(l.items, v...)
	return nil
}

// fill adds keys and values, in turns, to the dict that lies before them.
func (m *machine) fill(v []any, err error) error {
	if err != nil {
		return err
	}
	on, err := m.last()
	if err != nil {
		return err
	}
	d, ok := on.(*dict)
	if !ok || len(v)%2 != 0 {
		return fmt.Errorf("setting items of %s, %d values: want a dict, keys and values", kindOf(on), len(v))
	}
	for i := 0; i < len(v); i += 2 {
		if err := d.set(v[i], v[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// put remembers the last value. Writers number what they remember one after another, from 0 or, in Python 2, from 1.
func (m *machine) put(i uint64) error {
	v, err := m.last()
	switch n := uint64(len(m.memo)); {
	case err != nil:
		return err
	case i > n+1:
		return fmt.Errorf("remembers value %d behind value %d: want one after another", i, n)
	case i == n+1:
		m.memo = append(m.memo, nil, v)
	case i == n:
		m.memo = append(m.memo, v)
	default:
		m.memo[i] = v
	}
	return nil
}

func remember(m *machine, size uint64) error {
	i, err := m.number(size)
	if err != nil {
		return err
	}
	return m.put(i)
}

func recall(m *machine, size uint64) error {
	i, err := m.number(size)
	if err != nil {
		return err
	}
	if i >= uint64(len(m.memo)) {
		return fmt.Errorf("recalls value %d of %d", i, len(m.memo))
	}
	return m.push(m.memo[i])
}

func nameByLines(m *machine) error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.global(module, name)
}

func nameByStack(m *machine) error {
	v, err := m.pop(2)
	if err != nil {
		return err
	}
	module, ok1 := v[0].(string)
	name, ok2 := v[1].(string)
	if !ok1 || !ok2 {
		return fmt.Errorf("a name is %s and %s: want two strings", kindOf(v[0]), kindOf(v[1]))
	}
	return m.global(module, name)
}

// refusedNames are the instructions of pickletools that are refused, for messages.
var refusedNames = map[byte]string{
	'i': "INST (make an object of any class)", 'o': "OBJ (make an object of any class)", 0x81: "NEWOBJ (make an object of any class)",
	0x92: "NEWOBJ_EX (make an object of any class)", 0x82: "EXT1 (call by a registered number)", 0x83: "EXT2 (call by a registered number)",
	0x84: "EXT4 (call by a registered number)", 'P': "PERSID (a persistent id as text)", 'I': "INT", 'L': "LONG", 'F': "FLOAT", 'S': "STRING",
	'V': "UNICODE", 'g': "GET", 'p': "PUT", '0': "POP", '1': "POP_MARK", '2': "DUP", 'd': "DICT", 'l': "LIST", 0x8b: "LONG4", 0x8e: "BINBYTES8",
	0x8f: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}

func refusedInstruction(op byte, at int) error {
	if name, ok := refusedNames[op]; ok {
		kind, _, _ := strings.Cut(name, " ")
		return fmt.Errorf("pickle, byte %d: instruction %s is refused: a dictionary of tensors does not need %s. Nothing was executed; %s",
			at, name, kind, saveAgain)
	}
	return fmt.Errorf("pickle, byte %d: %#x is not an instruction: the file was changed", at, op)
}
