using './main.bicep'

// `az deployment group create -f deploy/azure/main.bicep -p deploy/azure/main.bicepparam` reads the
// environment; main.parameters.json says the same to the Azure Developer CLI.
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param operatorAddresses = [readEnvironmentVariable('COUNTERSIGN_OPERATOR_ADDRESS', '203.0.113.7/32')]
