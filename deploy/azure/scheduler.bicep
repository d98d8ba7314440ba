// The Durable Task Scheduler with one task hub, on a private address.
param location string
param name string
param hub string
@allowed(['Consumption', 'Dedicated'])
param sku string
param subnetId string
param zoneId string

@description('Networks that reach it by its public address besides. With none it has no public address.')
param allowed string[]

@description('The identities of the parts that use the task hub.')
param principals string[]

// Durable Task Data Contributor.
var contributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '0ad04412-c4d5-4796-b79c-f76d14c8d402'
)

resource scheduler 'Microsoft.DurableTask/schedulers@2026-02-01' = {
  name: name
  location: location
  properties: {
    // From the public address only these networks get in, whatever the caller's roles.
    ipAllowlist: allowed
    publicNetworkAccess: empty(allowed) ? 'Disabled' : 'Enabled'
    sku: sku == 'Dedicated' ? { name: sku, capacity: 1 } : { name: sku }
  }
}

resource taskHub 'Microsoft.DurableTask/schedulers/taskHubs@2026-02-01' = {
  parent: scheduler
  name: hub
  properties: {}
}

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: '${name}-endpoint'
  location: location
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: 'scheduler'
        properties: { privateLinkServiceId: scheduler.id, groupIds: ['scheduler'] }
      }
    ]
  }

  resource zone 'privateDnsZoneGroups' = {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: 'scheduler', properties: { privateDnsZoneId: zoneId } }]
    }
  }
}

resource may 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in principals: {
    name: guid(taskHub.id, principal, contributor)
    scope: taskHub
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: contributor
    }
  }
]

output endpoint string = scheduler.properties.endpoint
