package redis

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
)

// The metadata of a message are a map of strings in MessagePack,
// https://github.com/msgpack/msgpack/blob/master/spec.md. The relay needs only
// a small part of that; the adapter's library fails if a value is not a string,
// and follows nested values until the stack overflows.

// encodeMetadata returns metadata in MessagePack, or nothing if there are none.
func encodeMetadata(metadata map[string]string) []byte {
	if len(metadata) == 0 {
		return nil
	}
	size := 5
	for k, v := range metadata {
		size += len(k) + len(v) + 10
	}
	b := make([]byte, 0, size)
	if n := len(metadata); n < 16 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(n))
	}
	for k, v := range metadata {
		b = appendString(appendString(b, k), v)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

var errMetadata = errors.New("relay/redis: the metadata is not a map of scalars in MessagePack")

// decodeMetadata reads a map of scalars. With an error it returns the values
// before the first byte that is not understood.
func decodeMetadata(data string) (map[string]string, error) {
	if data == "" {
		return nil, nil
	}
	r := &reader{data}
	n, ok := r.mapLen()
	if !ok {
		return nil, errMetadata
	}
	metadata := map[string]string{} // not of size n, which may be wrong
	for ; n > 0; n-- {
		key, ok := r.scalar()
		if !ok {
			return metadata, errMetadata
		}
		value, ok := r.scalar()
		if !ok {
			return metadata, errMetadata
		}
		metadata[key] = value
	}
	return metadata, nil
}

// A reader reads MessagePack from the front of rest.
type reader struct{ rest string }

func (r *reader) mapLen() (int, bool) {
	c, ok := r.uint(1)
	switch {
	case !ok:
	case c&0xf0 == 0x80:
		return int(c & 0x0f), true
	case c == 0xde:
		n, ok := r.uint(2)
		return int(n), ok
	case c == 0xdf:
		n, ok := r.uint(4)
		return int(n), ok
	}
	return 0, false
}

// scalar reads a string, number, bool or nil, as text.
func (r *reader) scalar() (string, bool) {
	c, ok := r.uint(1)
	if !ok {
		return "", false
	}
	switch {
	case c < 0x80:
		return strconv.FormatUint(c, 10), true
	case c&0xe0 == 0xa0:
		return r.bytes(int(c & 0x1f))
	case c >= 0xe0:
		return strconv.Itoa(int(int8(c))), true
	}
	switch c {
	case 0xc0:
		return "", true
	case 0xc2, 0xc3:
		return strconv.FormatBool(c == 0xc3), true
	case 0xc4, 0xc5, 0xc6: // binary of 8, 16, 32 bits
		return r.sized(1 << (c - 0xc4))
	case 0xd9, 0xda, 0xdb: // string
		return r.sized(1 << (c - 0xd9))
	case 0xca:
		v, ok := r.uint(4)
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(v))), 'g', -1, 32), ok
	case 0xcb:
		v, ok := r.uint(8)
		return strconv.FormatFloat(math.Float64frombits(v), 'g', -1, 64), ok
	case 0xcc, 0xcd, 0xce, 0xcf: // unsigned
		v, ok := r.uint(1 << (c - 0xcc))
		return strconv.FormatUint(v, 10), ok
	case 0xd0, 0xd1, 0xd2, 0xd3: // signed
		size := 1 << (c - 0xd0)
		v, ok := r.uint(size)
		shift := 64 - 8*size
		return strconv.FormatInt(int64(v<<shift)>>shift, 10), ok
	}
	return "", false
}

func (r *reader) sized(width int) (string, bool) {
	n, ok := r.uint(width)
	if !ok {
		return "", false
	}
	return r.bytes(int(n))
}

// uint reads a number of 1, 2, 4 or 8 bytes.
func (r *reader) uint(size int) (uint64, bool) {
	s, ok := r.bytes(size)
	if !ok {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v, true
}

func (r *reader) bytes(n int) (string, bool) {
	if n < 0 || n > len(r.rest) {
		return "", false
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s, true
}
