module platform-api-connector

go 1.26.8
