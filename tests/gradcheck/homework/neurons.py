"""A network neuron by neuron: its backward takes a step too."""

import numpy as np


class Neuron:
    def __init__(self, num_inputs):
        self.weights = np.random.randn(num_inputs, 1) * 0.01
        self.bias = np.zeros((1, 1))

    def forward(self, activations):
        self.last_input = activations
        self.last_output = np.maximum(0, np.dot(activations, self.weights) + self.bias)
        return self.last_output

    def backward(self, dC_da, learning_rate):
        dC_dz = dC_da * np.where(self.last_output > 0, 1, 0)
        gradient = np.dot(dC_dz, self.weights.T)
        self.weights -= learning_rate * np.dot(self.last_input.T, dC_dz)
        self.bias -= learning_rate * np.sum(dC_dz, axis=0, keepdims=True)
        return gradient


class Layer:
    def __init__(self, num_neurons, num_inputs_per_neuron):
        self.neurons = [Neuron(num_inputs_per_neuron) for _ in range(num_neurons)]

    def forward(self, activations):
        return np.hstack([neuron.forward(activations) for neuron in self.neurons])

    def backward(self, output_gradient, learning_rate):
        return np.sum(
            [neuron.backward(output_gradient[:, [i]], learning_rate) for i, neuron in enumerate(self.neurons)], axis=0
        )


class NeuralNetwork:
    def __init__(self, layer_sizes):
        self.layers = [Layer(n_out, n_in) for n_in, n_out in zip(layer_sizes, layer_sizes[1:])]

    def forward(self, activations):
        for layer in self.layers:
            activations = layer.forward(activations)
        return activations


class Activations:
    def sigmoid(self, inputs):
        return 1 / (1 + np.exp(-inputs))

    def dsigmoid(self, dvalues):
        return dvalues * (1 - dvalues)


def mse(y, a):
    return np.mean((a - y) ** 2)


def mse_derivative(y, a):
    return 2 * (a - y) / y.size
