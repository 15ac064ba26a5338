// Package credentialstore stores the credentials of connections and of pending
// consents, and the operator's apps. It implements [connector.CredentialStore]
// and [connector.AppStore] and knows no AWS: a [Vault] holds the secrets, and a
// [Sealer] encrypts what the vault does not take.
//
// [Secrets] is the only credential store: one secret a connection. It writes a
// new version of the secret for each renewal, and the record refers to that
// version. While the vault takes no writes it seals the credentials into the
// reference itself, and thus into the record. Such a reference is stale: the
// domain stores the credentials again once it can.
package credentialstore
