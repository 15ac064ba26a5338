package awscloud_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// landedIn returns the connection of a situation.
func (d *deployment) landedIn(t *testing.T, situation string) connector.Connection {
	t.Helper()
	for _, landed := range d.landed.Connections {
		if landed.Situation == situation {
			c, err := d.Service.Connection(t.Context(), landed.ConnectionID)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no connection %q", situation)
	return connector.Connection{}
}

// wantLandedGone wants neither the record nor a secret, not even one that can be recovered.
func (d *deployment) wantLandedGone(t *testing.T, id connector.ID) {
	t.Helper()
	if _, err := d.Service.Connection(t.Context(), id); !errors.Is(err, connector.ConnectionNotFound) {
		t.Errorf("the record: %v, want %s", err, connector.ConnectionNotFound)
	}
	if got := d.secretState(t, d.landed.SecretPrefix+"/connections/"+string(id)); got != "none" {
		t.Errorf("the secret is %s", got)
	}
}

// A data deletion finds the connections that the previous release stored, by the index
// that it wrote.
func TestLanded_Erasure(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := d.landedIn(t, "facebook_connected")
	raw := connector.RawNotice{Body: []byte("signed_request=" + d.sandbox.SignedRequest(c.UserID))}
	result, err := d.TakeNotice(t.Context(), "facebook", "data-deletion", raw)
	if err != nil || result.Affected != 1 {
		t.Fatalf("%+v, %v; want one connection", result, err)
	}
	d.wantLandedGone(t, c.ID)
	if status, err := d.DeletionStatus(t.Context(), result.DeletionCode); err != nil || !status.InProgress || status.Deleted != 1 {
		t.Errorf("the status is %+v, %v", status, err)
	}
}

// A connection that the previous release disconnected has no key in the index of
// persons. It is read and purged all the same, with the secret that can be recovered.
func TestLanded_Purge(t *testing.T) {
	t.Parallel()
	for _, situation := range []string{"disconnected", "revocation_pending", "data_deletion_unfinished", "twitter_connected"} {
		t.Run(situation, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			c := d.landedIn(t, situation)
			if err := d.Disconnect(t.Context(), c.ID, true); err != nil {
				t.Fatal(err)
			}
			d.wantLandedGone(t, c.ID)
		})
	}
}

// The status of a deletion of the previous release is complete.
func TestLanded_DeletionStatus(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	status, err := d.DeletionStatus(t.Context(), connector.NewSecret(d.landed.Deletion.Code))
	if err != nil || status.InProgress || !status.RequestedAt.Before(d.landed.Now.Add(time.Second)) {
		t.Errorf("the status is %+v, %v", status, err)
	}
}
