package awscloud

// Schema describes the table to what creates it: the deployment, the local
// stack, and tests. Every key attribute is a string.
//
// The prefix of pk tells the six kinds of record apart:
//
//	connection#<id>          a connection, see connectionItem
//	account#<hash>           a connection's claim to its account, see accountItem
//	ticket#<kind>#<id>       a link, a state, a data deletion, a pending consent…, see ticketItem
//	counter#<name>           a counter, see counterItem
//	breaker#<platform>       the breaker of a platform's app, see breakerItem; that of
//	                         an import's client has its hash after another "#"
//	suspensions#all          every suspension, see suspensionsItem
//
// Connections are in all indexes. Tickets that become due are in the index of
// what is due, and tickets that name a person are in the index of persons.
// Other records are in none.
type Schema struct {
	PartitionKey string
	Indexes      []Index
	// TTLAttribute holds, in epoch seconds, when DynamoDB may delete a record.
	TTLAttribute string
}

// Index is a global secondary index of the table. A record is in it if it
// has both key attributes.
type Index struct {
	Name, PartitionKey, SortKey string
	// KeysOnly says that the index has the keys alone, else it has all attributes.
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
