package pixels

import "sync"

// maxKept is the largest buffer that is kept for reuse: rare giant images must not stay in memory.
const maxKept = 48 << 20

// bufferPool reuses pixel buffers.
type bufferPool struct{ pool sync.Pool }

// get gives a buffer of exactly n bytes with arbitrary content.
func (p *bufferPool) get(n int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok || cap(*b) < n {
		fresh := make([]byte, n)
		return &fresh
	}
	*b = (*b)[:n]
	return b
}

func (p *bufferPool) put(b *[]byte) {
	if cap(*b) <= maxKept {
		p.pool.Put(b)
	}
}
