// The Durable Task Scheduler with one task hub.
param location string
param name string
param hub string
param sku string
param allowlist array
param principals array

// Durable Task Data Contributor.
var contributor = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '0ad04412-c4d5-4796-b79c-f76d14c8d402'
)

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  properties: {
    // Nobody else gets in, whatever their roles.
    ipAllowlist: allowlist
    sku: sku == 'Dedicated' ? { name: sku, capacity: 1 } : { name: sku }
  }
}

resource taskHub 'Microsoft.DurableTask/schedulers/taskHubs@2025-11-01' = {
  parent: scheduler
  name: hub
  properties: {}
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
