package kernels

// Tensor is a view of a buffer: Rows x Cols values of DType from byte Offset, row-major, Stride elements from one row to the next. It is a
// value; the buffer must outlive it.
type Tensor struct {
	Buf                *Buffer
	Offset             int64
	Rows, Cols, Stride int
	DType              DType
}

// SliceRows is the view of rows [from, to).
func (t Tensor) SliceRows(from, to int) Tensor {
	if from < 0 || to < from || to > t.Rows {
		return t.bad()
	}
	t.Offset += int64(from) * int64(t.Stride) * t.DType.Bytes()
	t.Rows = to - from
	return t
}

// SliceCols is the view of columns [from, to); the stride stays.
func (t Tensor) SliceCols(from, to int) Tensor {
	if from < 0 || to < from || to > t.Cols {
		return t.bad()
	}
	t.Offset += int64(from) * t.DType.Bytes()
	t.Cols = to - from
	return t
}

// Reshape is the same values as rows x cols. The tensor must be contiguous and have as many values.
func (t Tensor) Reshape(rows, cols int) Tensor {
	if t.Stride != t.Cols || rows < 0 || cols < 0 || (cols > 0 && rows > t.Rows*t.Cols/cols) || rows*cols != t.Rows*t.Cols {
		return t.bad()
	}
	t.Rows, t.Cols, t.Stride = rows, cols, cols
	return t
}

// bad is a view that every operation refuses, so that views need no error of their own.
func (t Tensor) bad() Tensor {
	t.Rows, t.Cols, t.Stride = -1, -1, -1
	return t
}

// Contiguous tells whether the rows lie behind one another without gaps.
func (t Tensor) Contiguous() bool { return t.Stride == t.Cols || t.Rows <= 1 }
