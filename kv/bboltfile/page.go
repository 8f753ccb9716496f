package bboltfile

import "encoding/binary"

// A page is a header and elements of a fixed size, each of which tells how far behind its own start its key
// lies; in a leaf the value follows the key.
const (
	pageHeaderSize   = 16 // id, flags, count, overflow
	elementSize      = 16
	bucketHeaderSize = 16 // root page and sequence

	branchPage = 0x01
	leafPage   = 0x02

	bucketElement = 0x01

	// maxPageBytes bounds what one page may take with those that continue it, and so memory: bbolt takes no
	// value of more than 2 GiB, and etcd none of more than some megabytes unless told to.
	maxPageBytes = 1 << 30
)

// page is a page whose header was checked against its size.
type page struct {
	data   []byte
	branch bool
	count  int
}

func parsePage(data []byte) (page, error) {
	if len(data) < pageHeaderSize {
		return page{}, damaged("a page has %d bytes", len(data))
	}
	flags, count := binary.LittleEndian.Uint16(data[8:]), int(binary.LittleEndian.Uint16(data[10:]))
	if flags != branchPage && flags != leafPage {
		return page{}, damaged("a page of a tree has the kind %#x", flags)
	}
	p := page{data: data, branch: flags == branchPage, count: count}
	if pageHeaderSize+count*elementSize > len(data) {
		return page{}, damaged("a page has no room for its %d elements", count)
	}
	if p.branch && count == 0 {
		return page{}, damaged("an inner page is empty")
	}
	return p, nil
}

// child is the page that the i-th element of a branch names.
func (p page) child(i int) uint64 {
	return binary.LittleEndian.Uint64(p.data[pageHeaderSize+i*elementSize+8:])
}

// leaf returns the i-th element of a leaf. Key and value alias the page.
func (p page) leaf(i int) (key, value []byte, isBucket bool, err error) {
	at := pageHeaderSize + i*elementSize
	e := p.data[at:]
	order := binary.LittleEndian
	flags, keySize, valueSize := order.Uint32(e), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	begin := uint64(at) + uint64(order.Uint32(e[4:]))
	middle, end := begin+keySize, begin+keySize+valueSize
	if end > uint64(len(p.data)) {
		return nil, nil, false, damaged("an element reaches beyond its page")
	}
	return p.data[begin:middle:middle], p.data[middle:end:end], flags&bucketElement != 0, nil
}

// readPage reads a page and those that continue it into buffer, which it returns with its length.
func (f *File) readPage(id uint64, buffer []byte) ([]byte, error) {
	if id < 2 || id >= f.pages {
		return buffer, damaged("there is no page %d", id)
	}
	at := int64(id) * f.pageSize
	if int64(cap(buffer)) < f.pageSize {
		buffer = make([]byte, f.pageSize)
	}
	buffer = buffer[:f.pageSize]
	if _, err := f.source.ReadAt(buffer, at); err != nil {
		return buffer, err
	}
	overflow := uint64(binary.LittleEndian.Uint32(buffer[12:]))
	size := (overflow + 1) * uint64(f.pageSize)
	switch {
	case binary.LittleEndian.Uint64(buffer) != id:
		return buffer, damaged("page %d has another's number", id)
	case id+overflow >= f.pages:
		return buffer, damaged("page %d reaches beyond the end", id)
	case size > maxPageBytes:
		return buffer, damaged("page %d has more than %d bytes", id, maxPageBytes)
	}
	if overflow == 0 {
		return buffer, nil
	}
	if uint64(cap(buffer)) < size {
		buffer = append(make([]byte, 0, size), buffer...)
	}
	buffer = buffer[:size]
	_, err := f.source.ReadAt(buffer[f.pageSize:], at+f.pageSize)
	return buffer, err
}
