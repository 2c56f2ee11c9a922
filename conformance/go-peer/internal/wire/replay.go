package wire

// Window remembers which of the last `size` counters were seen. The test for
// a counter and its marking are two steps, so that a forgery that fails
// authentication in between burns nothing.
type Window struct {
	size uint64
	max  uint64
	any  bool
	seen map[uint64]struct{}
}

// NewWindow makes a window over the last size counters.
func NewWindow(size uint64) *Window {
	return &Window{size: size, seen: make(map[uint64]struct{})}
}

// Check reports whether the counter may still be accepted: counter + size must
// exceed the highest one seen (without wrapping), and it must be unseen.
func (w *Window) Check(counter uint64) bool {
	if !w.any {
		return true
	}
	if counter < w.max && w.max-counter >= w.size {
		return false
	}
	_, duplicate := w.seen[counter]
	return !duplicate
}

// Mark records a counter that Check accepted.
func (w *Window) Mark(counter uint64) {
	if !w.any || counter > w.max {
		old := w.max
		w.max = counter
		if w.any {
			w.forget(old)
		}
		w.any = true
	}
	w.seen[counter] = struct{}{}
}

// forget drops what left the window when its upper edge moved on from old.
func (w *Window) forget(old uint64) {
	if w.max-old >= w.size {
		clear(w.seen)
		return
	}
	if w.max < w.size {
		return
	}
	start := uint64(0)
	if old >= w.size {
		start = old - w.size + 1
	}
	for counter := start; counter <= w.max-w.size; counter++ {
		delete(w.seen, counter)
	}
}
