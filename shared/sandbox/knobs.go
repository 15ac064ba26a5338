package sandbox

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Knobs change how the platforms behave. Each platform's file has a method
// that returns its own. Lifetimes are in seconds. A change does not apply to tokens
// that were issued before.
type Knobs struct {
	byPlatform map[string]any // pointers to structs
}

// MarshalJSON returns an object with the knobs of each platform under its name.
func (k Knobs) MarshalJSON() ([]byte, error) { return json.Marshal(k.byPlatform) }

// patch changes the knobs that a JSON object names, and leaves the others. On
// an error it changes nothing.
func (k Knobs) patch(body []byte) error {
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(body, &changes); err != nil {
		return err
	}
	changed := map[string]reflect.Value{}
	for platform, change := range changes {
		knobs, ok := k.byPlatform[platform]
		if !ok {
			return fmt.Errorf("the platform %q has no knobs", platform)
		}
		fresh := reflect.New(reflect.TypeOf(knobs).Elem())
		fresh.Elem().Set(reflect.ValueOf(knobs).Elem())
		if err := unmarshalStrictly(change, fresh.Interface()); err != nil {
			return err
		}
		changed[platform] = fresh.Elem()
	}
	for platform, value := range changed {
		reflect.ValueOf(k.byPlatform[platform]).Elem().Set(value)
	}
	return nil
}
