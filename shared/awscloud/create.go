package awscloud

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const tableReadyWithin = time.Minute

// CreateTable creates the table where no deployment does, and returns once it
// can be used. It does not enable the deletion of expired records.
func CreateTable(ctx context.Context, client *dynamodb.Client, name string) error {
	schema := TableSchema()
	input := &dynamodb.CreateTableInput{
		TableName:   &name,
		BillingMode: types.BillingModePayPerRequest,
		KeySchema:   keySchema(schema.PartitionKey, ""),
	}
	attributes := map[string]bool{schema.PartitionKey: true}
	for _, index := range schema.Indexes {
		projection := types.ProjectionTypeAll
		if index.KeysOnly {
			projection = types.ProjectionTypeKeysOnly
		}
		input.GlobalSecondaryIndexes = append(input.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName:  aws.String(index.Name),
			KeySchema:  keySchema(index.PartitionKey, index.SortKey),
			Projection: &types.Projection{ProjectionType: projection},
		})
		attributes[index.PartitionKey], attributes[index.SortKey] = true, true
	}
	for attribute := range attributes {
		input.AttributeDefinitions = append(input.AttributeDefinitions, types.AttributeDefinition{
			AttributeName: aws.String(attribute), AttributeType: types.ScalarAttributeTypeS,
		})
	}
	if _, err := client.CreateTable(ctx, input); err != nil {
		return fmt.Errorf("creating the table: %w", err)
	}
	ready := dynamodb.NewTableExistsWaiter(client)
	if err := ready.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &name}, tableReadyWithin); err != nil {
		return fmt.Errorf("waiting for the table: %w", err)
	}
	return nil
}

func keySchema(partitionKey, sortKey string) []types.KeySchemaElement {
	keys := []types.KeySchemaElement{{AttributeName: &partitionKey, KeyType: types.KeyTypeHash}}
	if sortKey != "" {
		keys = append(keys, types.KeySchemaElement{AttributeName: &sortKey, KeyType: types.KeyTypeRange})
	}
	return keys
}
