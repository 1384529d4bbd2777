package amqp

// FilterSet is the filter field of a source (3.5.8), in the order in which it came. Null filters let everything pass
// and are dropped on decoding.
type FilterSet []Filter

// Filter is one named filter. What it means is said by its descriptor and never by its name, which clients choose freely.
//
// A value that is not described, which 3.5.8 forbids, is kept with a nil Descriptor, so that the link can be refused
// rather than the connection.
type Filter struct {
	Name Symbol
	Described
}

// Find gives the first filter with the numeric descriptor code or the symbolic descriptor name.
func (s FilterSet) Find(code uint64, name Symbol) (Filter, bool) {
	for i := range s {
		if s[i].Is(code, name) {
			return s[i], true
		}
	}
	return Filter{}, false
}

// Descriptors of filters registered by Apache: the domain id is 0x468c.
const (
	FilterSelectorCode uint64 = 0x0000468c00000004
	FilterSelectorName Symbol = "apache.org:selector-filter:string"
	FilterNoLocalCode  uint64 = 0x0000468c00000003
	FilterNoLocalName  Symbol = "apache.org:no-local-filter:list"
)

func (w *writer) filters(s FilterSet) {
	if len(s) == 0 {
		w.null()
		return
	}
	w.field()
	b, at := beginCompound(w.b, fcMap8)
	for i := range s {
		b = AppendValue(AppendSymbol(b, s[i].Name), s[i].Described)
	}
	w.b = endCompound(b, at, 2*len(s), fcMap32)
}

func (f *fields) filters(field string) FilterSet {
	if !f.has(field) {
		return nil
	}
	entries := f.mapOf()
	n := entries.left / 2
	seen := make(map[Symbol]struct{}, room(n))
	var set FilterSet
	for range n {
		name := entries.key()
		v := entries.value(1)
		if entries.err != nil {
			break
		}
		if _, twice := seen[name]; twice {
			entries.fail(ErrCondDecodeError, "map with a key twice")
			break
		}
		seen[name] = struct{}{}
		switch v := v.(type) {
		case nil:
		case Described:
			set = append(set, Filter{Name: name, Described: v})
		default:
			set = append(set, Filter{Name: name, Described: Described{Value: v}})
		}
	}
	entries.left = 0
	entries.done(&f.reader)
	return set
}
