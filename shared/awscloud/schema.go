package awscloud

// Schema describes the table to whoever creates it: the deployment, the local
// stack, and tests. Every key attribute is a string.
//
// The table holds records of five kinds, told apart by the prefix of pk:
//
//	connection#<id>          a connection
//	account#<hash>           who holds an account: {"connection_id":…}
//	ticket#<kind>#<hash>     a link, a state, a data deletion, a consent to be confirmed
//	counter#<name>           what is used of a quota: {"used":…}
//	breaker#<platform>       what all connections of an app have met together
//
// Connections are in all indexes; of the others, tickets that become due are
// in the index of what is due.
type Schema struct {
	PartitionKey string
	Indexes      []Index
	// TTLAttribute holds, in epoch seconds, when a record may be swept.
	TTLAttribute string
}

// Index is a global secondary index of the table. A record is in it if it
// has both key attributes.
type Index struct {
	Name, PartitionKey, SortKey string
	// KeysOnly says that the index holds nothing but keys; else it holds all.
	KeysOnly bool
}

// TableSchema returns the schema of the table.
func TableSchema() Schema {
	return Schema{
		PartitionKey: "pk",
		TTLAttribute: "expires",
		Indexes: []Index{
			{Name: "by_owner", PartitionKey: "owner", SortKey: "id"},
			{Name: "by_user", PartitionKey: "user", SortKey: "id", KeysOnly: true},
			{Name: "due", PartitionKey: "due_shard", SortKey: "due_at", KeysOnly: true},
		},
	}
}
