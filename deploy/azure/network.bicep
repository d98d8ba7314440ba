// The network of the cluster and of the private addresses of vaults, scheduler and database. All that leaves
// it comes from one public address.
param location string
param name string

resource egress 'Microsoft.Network/publicIPAddresses@2025-05-01' = {
  name: '${name}-egress'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource gateway 'Microsoft.Network/natGateways@2025-05-01' = {
  name: '${name}-gateway'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: egress.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: '${name}-network'
  location: location
  properties: {
    addressSpace: { addressPrefixes: ['10.20.0.0/16'] }
    subnets: [
      {
        name: 'nodes'
        properties: { addressPrefix: '10.20.0.0/22', natGateway: { id: gateway.id } }
      }
      {
        name: 'endpoints'
        properties: { addressPrefix: '10.20.8.0/24' }
      }
    ]
  }

  resource nodes 'subnets' existing = { name: 'nodes' }
  resource endpoints 'subnets' existing = { name: 'endpoints' }
}

// Where the names of private addresses are looked up.
var zoneNames = [
  'privatelink.vaultcore.azure.net'
  'privatelink.durabletask.io'
  'privatelink.postgres.database.azure.com'
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for index in range(0, length(zoneNames)): {
    parent: zones[index]
    name: '${name}-link'
    location: 'global'
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
]

output networkName string = network.name
output nodesId string = network::nodes.id
output endpointsId string = network::endpoints.id
output vaultZoneId string = zones[0].id
output schedulerZoneId string = zones[1].id
output databaseZoneId string = zones[2].id
output egressAddress string = egress.properties.ipAddress
