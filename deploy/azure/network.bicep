// The network of the cluster and of the vaults' private addresses. All that leaves it comes from
// one public address, which is the one that the scheduler lets in.
param location string
param name string

resource egress 'Microsoft.Network/publicIPAddresses@2023-11-01' = {
  name: '${name}-egress'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource gateway 'Microsoft.Network/natGateways@2023-11-01' = {
  name: '${name}-gateway'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: egress.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2023-11-01' = {
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

resource zone 'Microsoft.Network/privateDnsZones@2020-06-01' = {
  name: 'privatelink.vaultcore.azure.net'
  location: 'global'

  resource link 'virtualNetworkLinks' = {
    name: '${name}-link'
    location: 'global'
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
}

output networkName string = network.name
output nodesId string = network::nodes.id
output endpointsId string = network::endpoints.id
output zoneId string = zone.id
output egressAddress string = egress.properties.ipAddress
