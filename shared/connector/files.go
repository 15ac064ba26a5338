package connector

import "encoding/json"

// FileReader is a Platform that takes files in the forms in which people have them,
// beside the brief's shapes.
type FileReader interface {
	// ReadCredentials returns the fields of a file of credentials by the names of
	// the brief's shapes, without those that are known and not needed. Times are
	// RFC 3339. Fields that it returned, it returns again as they are. It makes no
	// call. InvalidRequest names every field that is unknown, malformed, or given by
	// two names with two values, as far as a name cannot be a secret.
	ReadCredentials(fields Fields) (Fields, error)

	// ReadApp returns the fields of a file of an app by our names, as
	// ReadCredentials does. It does not read their values.
	ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error)
}

// readCredentials returns the fields of a file of credentials by the names of p.
// It is InvalidRequest where ReadCredentials is, and where a field is too long.
func readCredentials(p Platform, fields Fields) (Fields, error) {
	if reader, ok := p.(FileReader); ok && len(fields) > 0 {
		read, err := reader.ReadCredentials(fields)
		if err != nil {
			return nil, err
		}
		fields = read
	}
	for name, value := range fields {
		if len(value.Reveal()) > maxField {
			return nil, Invalid("credentials."+name, "too long")
		}
	}
	return fields, nil
}

// ReadApp returns the fields of a file of a platform's app by our names.
// InvalidRequest says that there is no such platform, or which fields are unknown
// or given by two names with two values.
func (s *Service) ReadApp(name Name, fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	p, err := s.platform(name)
	if err != nil {
		return nil, err
	}
	if reader, ok := p.(FileReader); ok {
		return reader.ReadApp(fields)
	}
	return fields, nil
}
